"""`llama-tandem tune` as a shell runs it, on fake engines: what it prints, what it keeps, and that nobody survives."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from app.config.settings import load_settings
from app.config.speculation import parse_chain
from app.models.catalog import Catalog
from app.planner import Planner
from app.records.database import Database
from app.records.ledger import Ledger, TuningRecord
from app.tuning.command import TuneOptions, tune
from tests.support.gateway import engines_of, eventually, fake_llama_server, header_only
from tests.support.headers import write_header
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for children")
FAST = ["--tps", "400"]


def configure(folder: Path, *, args: list[str] | None = None, **more: Any) -> Path:
    """A tandem.yaml with one model `org/m`."""
    model = {"target": {"path": str(header_only(folder / "model.gguf"))}, "args": FAST if args is None else args}
    settings = {
        "engine_port": free_port(),
        "state_dir": str(folder / "state"),
        "cache_dir": str(folder / "cache"),
        "llama_server": str(fake_llama_server(folder)),
        "stop_grace": 2,
        "models": {"org/m": model | more},
    }
    path = folder / "tandem.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "LLAMA_"))}
    command = [sys.executable, "-P", "-m", "app", "tune", "org/m", "--config", str(folder / "tandem.yaml"), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout, stderr; nobody may be left."""
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert engines_of(process.pid) == []
    assert "Traceback" not in errors
    return process.returncode, output, errors


def saved(folder: Path, output: str) -> TuningRecord | None:
    """What the ledger has under the key that `--json` printed."""
    return Ledger(Database(folder / "state")).tuned(json.loads(output)["key"])


def test_a_run_ends_with_a_table_a_chart_and_a_recommendation(tmp_path: Path) -> None:
    """Fake n-gram engines are as fast as plain ones: plain decoding stays."""
    configure(tmp_path)
    code, output, errors = finish(start(tmp_path, "--modes", "none,ngram-mod", "--minutes", "0.2"))
    assert code == 0, errors
    rows = [line.split() for line in output.splitlines()]
    assert any(row[:1] == ["none"] and "plain" in row for row in rows)
    assert any(row[:1] == ["ngram-mod"] and "to" in row for row in rows)
    assert "All arms gave the same greedy answers as plain decoding." in output
    assert "Recommendation: none, plain decoding." in output
    chart = tmp_path / "tune-org-m.svg"
    assert f"Chart: {chart}" in output and ElementTree.parse(chart).getroot().tag.endswith("svg")
    assert "Comparing none and ngram-mod" in errors and "in flight, ngram-mod: " in errors


def test_the_result_is_saved_under_the_key(tmp_path: Path) -> None:
    """As JSON it comes alone on stdout, and the ledger has the same."""
    configure(tmp_path)
    words = ["--json", "--modes", "ngram-mod", "--minutes", "0.1", "--chart", "c.svg"]
    code, output, errors = finish(start(tmp_path, *words))
    assert code == 0, errors
    printed, kept = json.loads(output), saved(tmp_path, output)
    assert kept is not None and kept.alias == "org/m" and kept.partial == printed["partial"]
    # What is recommended is chance here: the fake is as fast either way.
    assert kept.arms == printed["arms"] and kept.recommended == printed["recommended"]
    assert parse_chain(kept.recommended) is not None and printed["chart"] == str(tmp_path / "c.svg")
    plain, drafted = printed["arms"]
    assert plain["goodput"] > 0 and plain["acceptance"] is None
    assert drafted["acceptance"] and drafted["memory"] > 1_000_000 and drafted["greedy_answers_differing"] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_results_so_far_and_no_child(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """In the middle of an answer, with two engines up."""
    configure(tmp_path, args=["--tps", "40"])
    process = start(tmp_path, "--json", "--modes", "ngram-mod")
    assert process.stderr is not None
    seen = [process.stderr.readline() for _ in range(4)]
    eventually(lambda: engines_of(process.pid))
    process.send_signal(number)
    returned, output, _ = finish(process)
    assert returned == code and "tok/s" in seen[-1]
    result, kept = json.loads(output), saved(tmp_path, output)
    assert result["partial"] and result["ended"] == f"it was stopped by {number.name}"
    assert kept is not None and kept.partial and kept.recommended == "none"
    assert any(row["blocks"] for row in kept.arms) and (tmp_path / "tune-org-m.svg").is_file()


def test_a_run_that_is_broken_off_does_not_replace_a_whole_one(tmp_path: Path) -> None:
    """And says so."""
    config = configure(tmp_path)
    settings = load_settings(config)
    catalog = Catalog(settings)
    key = Planner(settings, catalog, Ledger(Database(settings.state_dir))).key(catalog.resolve("org/m"))
    whole = TuningRecord(key, "org/m", 1.0, False, "none", [{"name": "none", "blocks": 99}])
    Ledger(Database(settings.state_dir)).record_tuned(whole)
    process = start(tmp_path, "--modes", "ngram-mod")
    assert process.stderr is not None
    for _ in range(4):
        process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code, output, _ = finish(process)
    assert code == 130 and re.search(r"Not saved: the result of 1970.* stays, with 99 blocks .* here are \d", output)
    assert Ledger(Database(settings.state_dir)).tuned(key) == whole


def test_a_signal_while_engines_load_leaves_no_child(tmp_path: Path) -> None:
    """There is nothing to save then; a second one is not waited for."""
    configure(tmp_path, args=["--load-seconds", "60", "--ignore-sigterm"])
    process = start(tmp_path, "--modes", "ngram-mod")
    eventually(lambda: engines_of(process.pid))
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    code, output, _ = finish(process)
    assert code == 130 and "No recommendation: no round is complete." in output
    assert not (tmp_path / "state" / "ledger.sqlite3").exists() and not (tmp_path / "tune-org-m.svg").exists()


def test_a_gateway_that_is_killed_leaves_no_child(tmp_path: Path) -> None:
    """`kill -9` cannot be caught: the kernel ends the engines."""
    configure(tmp_path, args=["--tps", "40"])
    process = start(tmp_path, "--modes", "ngram-mod")
    eventually(lambda: engines_of(process.pid))
    process.kill()
    process.communicate()
    eventually(lambda: not engines_of(process.pid))


def test_an_arm_that_the_headers_rule_out_is_told_and_not_started(tmp_path: Path) -> None:
    """Once, not for each length of drafts; the others are compared."""
    draft = write_header(tmp_path / "draft.gguf", {"tokenizer.ggml.model": "gpt2"})
    configure(tmp_path, draft={"path": str(draft)})
    write_header(tmp_path / "model.gguf", {"tokenizer.ggml.model": "llama"})
    words = ["--modes", "ngram-mod,draft-simple", "--minutes", "0.05"]
    code, output, errors = finish(start(tmp_path, *words))
    assert code == 0, errors
    assert errors.count("draft-simple is not tried: The tokenizers are of different kinds") == 1
    assert "draft-simple was not tried: The tokenizers are of different kinds" in output


def test_an_arm_that_cannot_start_is_told_and_left_out(tmp_path: Path) -> None:
    """Its engine would come up without speculation, which is plain decoding under another name."""
    draft = header_only(tmp_path / "draft.gguf")
    configure(tmp_path, args=[*FAST, "--draft-inert"], draft={"path": str(draft)})
    words = ["--json", "--modes", "ngram-mod,draft-simple", "--minutes", "0.2"]
    code, output, errors = finish(start(tmp_path, *words))
    assert code == 0, errors
    arms = {row["name"]: row for row in json.loads(output)["arms"]}
    assert arms["none"]["failed"] is None
    assert arms["ngram-mod"]["failed"] == "speculation is off: /slots says that it is off"
    why = arms["draft-simple n_max 4"]["failed"]
    assert why.startswith("Speculation is not on: /slots says that it is off") and "on_inert" not in why
    assert "draft-simple n_max 4 is left out:" in errors
    # Plain decoding was best among itself: nothing that `auto` should follow.
    assert saved(tmp_path, output) is None


def test_a_model_that_cannot_start_at_all_is_said(tmp_path: Path) -> None:
    """Without plain decoding there is nothing to compare with."""
    configure(tmp_path, args=["--fail-load", "truncated"])
    code, output, errors = finish(start(tmp_path, "--modes", "ngram-mod"))
    assert (code, output) == (1, "")
    assert "Nothing was measured: plain decoding failed:" in errors and "incomplete" in errors


def test_an_engine_that_dies_meanwhile_is_told(tmp_path: Path) -> None:
    """Both engines die of their second answer, and with plain decoding the comparison ends."""
    configure(tmp_path, args=[*FAST, "--exit-after-tokens", "17", "--tokens", "40"])
    code, output, errors = finish(start(tmp_path, "--modes", "ngram-mod"))
    assert (code, output) == (1, "") and "Nothing was measured: plain decoding failed: " in errors


def test_own_prompts_are_sent(tmp_path: Path) -> None:
    """As one kind of text, at every level; too few of them are told."""
    configure(tmp_path)
    (tmp_path / "own.jsonl").write_text(
        '{"prompt": "Once upon a time"}\n{"messages": [{"role": "user", "content": "a"}]}'
    )
    words = ["--json", "--modes", "ngram-mod", "--minutes", "0.1", "--prompts", "own.jsonl"]
    code, output, errors = finish(start(tmp_path, *words))
    assert code == 0, errors
    assert json.loads(output)["kinds"] == ["own"]
    assert "A round sends 7 prompts and there are 2" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--modes", "ngram"], "unknown mode 'ngram'"),
        (["--modes", "none"], "There is nothing to compare plain decoding with."),
        (["--modes", "draft-mtp"], "draft-mtp: the target has no layers for multi-token prediction."),
        (["--minutes", "0"], "--minutes: must be above 0"),
        (["--minutes", "nan"], "--minutes: must be above 0"),
        (["--prompts", "gone.txt"], "gone.txt: cannot be read"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(tmp_path: Path, words: list[str], message: str) -> None:
    """In words, with exit code 1."""
    configure(tmp_path)
    code, output, errors = finish(start(tmp_path, *words))
    assert (code, output) == (1, "") and message in errors


def test_a_gain_is_recommended_as_an_entry_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Engines take turns where memory does not hold all of them; a fake that speculates is made twice as fast."""
    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    config = configure(tmp_path, args=["--tps", "100"])
    wrapped = fake_llama_server(tmp_path).rename(tmp_path / "fake")
    (tmp_path / "llama-server").write_text(
        f'#!/bin/sh\ncase "$*" in *--spec-type*) exec {wrapped} "$@" --tps 300;; esac\nexec {wrapped} "$@"\n'
    )
    (tmp_path / "llama-server").chmod(0o755)
    monkeypatch.setattr("app.tuning.memory.room_for_all", lambda sizes: False)
    assert tune(load_settings(config), "org/m:plain", TuneOptions(("ngram-mod",), minutes=0.2)) == 0
    output = capsys.readouterr().out
    assert "Recommendation: ngram-mod. It delivers" in output
    assert "In tandem.yaml: speculation: ngram-mod" in output
