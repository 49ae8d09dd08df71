"""Random broken entries, made from working ones: `check` says of each what llama-server itself then does."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cli.check import inspect
from app.config.settings import Settings
from app.errors import TandemError
from tests.engine.conftest import BINARY
from tests.support import tiny_models
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(BINARY is None, reason="there is no llama-server; `make llama-server` builds one")

Entry = dict[str, Any]
LOAD_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Working files of all kinds, and some that are not what they seem."""
    path = tmp_path_factory.mktemp("files")
    tiny_models.write_target(path / "target.gguf")
    tiny_models.write_truncated(path / "cut.gguf")
    tiny_models.write_not_gguf(path / "page.gguf")
    tiny_models.write_unknown_arch(path / "arch.gguf")
    parts = tiny_models.write_sharded(path / "parts", 3)
    shutil.copy(parts[0], path / "renamed.gguf")
    for number, part in enumerate((parts[0], parts[2], parts[2]), 1):
        shutil.copy(part, path / f"mixed-0000{number}-of-00003.gguf")
    write_adapter(path / "lora.gguf")
    _projector(path / "mmproj.gguf")
    tiny_models.write_draft(path / "draft.gguf")
    for name, write in tiny_models.INCOMPATIBLE_DRAFTS.items():
        write(path / f"{name}.gguf")
    (path / "good.jinja").write_text(tiny_models.TEMPLATE)
    yield path


def write_adapter(path: Path) -> None:
    """A LoRA adapter of nothing for the tiny models."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((4, 64), dtype=np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", np.zeros((64, 4), dtype=np.float32))
    _finish(writer)


def _projector(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_tensor("v.weight", np.zeros((4, 4), dtype=np.float32))
    _finish(writer)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


FILES = ["target", "cut", "page", "arch", "parts-00001-of-00003", "renamed", "mixed-00001-of-00003", "lora", "mmproj"]
WORKING = [
    ["--lora", "lora.gguf"],
    ["--chat-template-file", "good.jinja"],
    ["-ctk", "bf16", "-fa", "on"],
    ["-ctv", "f16", "--flash-attn", "off"],
    ["--batch-size", "256", "-ub", "64"],
    ["--pooling", "mean", "--embeddings"],
    ["--no-warmup", "-ngl", "99"],
    ["--slot-save-path", "."],
]
DRAFTS = ["draft", *tiny_models.INCOMPATIBLE_DRAFTS, *FILES]
# Pieces that a template is broken by, or not
PIECES = ["{{ x }", "{% endfor %}", "{# x", "{{ 'x }}", "{% if x %}", "{{ x | nope }}", "{% raw %}", "}}", "{{ '}}' }}"]
NUMBERS = ["0", "-1", "99999999999", "many", "1e9", "", "7x"]
TYPES = ["q8_0", "q4_0", "iq4_nl", "q9", "f32"]


CHANGES = [
    *("target", "mmproj", "draft", "letter", "drop", "join", "number", "type", "template", "swap", "value", "nothing"),
]

# Of forms that no choice and no number tells
VALUES = (
    ("--tensor-split", ["3,1", "1,x", "", "1;2"]),
    ("--override-kv", ["foo", "a=int:1", "a=bool:maybe", "tokenizer.ggml.add_bos_token=bool:false"]),
    ("--numa", ["distribute", "spread"]),
    ("--override-tensor", ["exps=CPU", "exps", "exps=GPU9"]),
    ("--reasoning-format", ["none", "auto", "deep"]),
    ("--chat-template-kwargs", ['{"a": 1}', "{a", "1"]),
    ("--logit-bias", ["15043+1", "x"]),
    ("--cpu-range", ["0-1", "1", "a-b"]),
    ("--tools", ["all", "read_file", "fly"]),
)


def broken(seed: int) -> Entry:
    """A working entry with one thing changed: a file, a letter, a word, a number, or nothing."""
    rng = random.Random(seed)
    entry: Entry = {"target": {"path": "target.gguf"}, "ctx_size": 256, "args": list(rng.choice(WORKING))}
    args = entry["args"]
    place = rng.randrange(len(args))
    match rng.choice(CHANGES):
        case "target":
            entry["target"] = {"path": f"{rng.choice(FILES)}.gguf"}
        case "mmproj":
            entry["mmproj"] = {"path": f"{rng.choice(['target', 'lora', 'page'])}.gguf"}
        case "letter":
            at = rng.randrange(len(args[place]))
            args[place] = args[place][:at] + rng.choice("abcxyz-_") + args[place][at + 1 :]
        case "drop":
            del args[place]
        case "join":
            args[:2] = [" ".join(args[:2])]
        case "number":
            args += [rng.choice(["--batch-size", "--threads-batch", "--keep", "--top-k"]), rng.choice(NUMBERS)]
        case "type":
            args += [rng.choice(["-ctk", "-ctv"]), rng.choice(TYPES), "-fa", rng.choice(["on", "off"])]
        case "value":
            flag, values = rng.choice(VALUES)
            args += [flag, rng.choice(values)]
        case "template":
            at = rng.randrange(len(tiny_models.TEMPLATE))
            text = tiny_models.TEMPLATE[:at] + rng.choice(PIECES) + tiny_models.TEMPLATE[at:]
            entry["args"] = ["--chat-template", text]
        case "draft":
            entry["draft"] = {"path": f"{rng.choice(DRAFTS)}.gguf"}
            entry["speculation"] = {"mode": "draft-simple", "on_inert": rng.choice(["plain", "fail"])}
        case "swap":
            args[place:] = [f"{rng.choice(FILES)}.gguf", *args[place + 1 :]]
    return entry


def configured(folder: Path, entry: Entry) -> Settings | None:
    """None where the settings themselves refuse the entry: then neither is asked."""
    places = {key: {"path": str(folder / entry[key]["path"])} for key in ("target", "draft", "mmproj") if key in entry}
    try:
        return Settings.model_validate(
            {
                "llama_server": BINARY,
                "state_dir": folder / "state",
                "cache_dir": folder / "cache",
                "models": {"m": entry | places | {"threads": 1}},
            }
        )
    except (TandemError, ValueError):
        return None


def starts(folder: Path, entry: Entry) -> bool:
    """Whether llama-server comes up with the entry as it is written, past all that we know of it.

    With a draft it has to draft as well, or may do without, as the entry says.
    """
    if "draft" in entry and entry["speculation"]["on_inert"] == "plain":
        return comes_up(folder, {key: value for key, value in entry.items() if key != "draft"})
    return comes_up(folder, entry)


def comes_up(folder: Path, entry: Entry) -> bool:
    port = free_port()
    words = [str(BINARY), "--model", str(folder / entry["target"]["path"]), "--port", str(port), "--threads", "1"]
    words += ["--ctx-size", str(entry["ctx_size"]), "--parallel", "1", "--host", "127.0.0.1", "--no-ui"]
    words += ["--mmproj", str(folder / entry["mmproj"]["path"])] if "mmproj" in entry else []
    if "draft" in entry:
        words += ["--model-draft", str(folder / entry["draft"]["path"]), "--spec-type", "draft-simple"]
    process = subprocess.Popen(
        [*words, *entry["args"]],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "GGML_NO_BACKTRACE": "1", "XDG_CONFIG_HOME": str(folder / "none")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + LOAD_S
    try:
        while process.poll() is None:
            if _healthy(port):
                return "draft" not in entry or _drafts(port)
            assert time.monotonic() < end, f"neither up nor gone: {entry}"
            time.sleep(0.02)
        return False
    finally:
        process.kill()
        process.wait()


def _healthy(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def _drafts(port: int) -> bool:
    """As llama-server itself tells: with a draft that it cannot use it comes up all the same."""
    slots = httpx2.get(f"http://127.0.0.1:{port}/slots", trust_env=False).json()
    return all(slot["speculative"] for slot in slots)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_check_and_llama_server_agree(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Both ways: nothing is called ok that does not start, nothing refused that would."""
    monkeypatch.chdir(folder)
    entry = broken(seed)
    if (config := configured(folder, entry)) is None:
        return
    report = list(inspect(config, "m"))[-1]
    if "is no text" in report.lines[-1]:
        # llama-server may take a model's first bytes for a chat template, and would answer nonsense with it.
        return
    assert report.fine == starts(folder, entry), (entry, report.lines)


def test_a_working_entry_is_ok_and_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that the broken ones are made from: otherwise they would agree on nothing but failures."""
    monkeypatch.chdir(folder)
    for args in WORKING:
        entry: Entry = {"target": {"path": "target.gguf"}, "ctx_size": 256, "args": args}
        config = configured(folder, entry)
        assert config is not None
        report = list(inspect(config, "m"))[-1]
        assert report.fine and starts(folder, entry), (args, report.lines)


Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"target": {"path": "lora.gguf"}}, "wrong_kind"),
        ({"target": {"path": "mixed-00001-of-00003.gguf"}}, "split"),
        ({"mmproj": {"path": "target.gguf"}}, "projector"),
        ({"args": ["--lora", "{folder}/none.gguf"]}, "missing_file"),
        ({"args": ["-ctv", "q4_0", "-fa", "off"]}, "cache_type"),
        ({"args": ["--chat-template", "{% for m in messages %}{{ m.content }{% endfor %}"]}, "chat_template"),
        ({"args": ["--tensor-split", "1,x"]}, "bad_value"),
        ({"args": ["--no-ui", "--numa", "spread"]}, "bad_value"),
        ({"env": {"LLAMA_ARG_THREADS": "x"}}, "bad_value"),
        ({"parallel": 500}, "bad_value"),
        ({"threads": 1000000}, "bad_value"),
        ({"draft": {"path": "arch.gguf"}, "speculation": {"on_inert": "fail"}}, "unknown_architecture"),
        ({"draft": {"path": "lora.gguf"}, "speculation": {"on_inert": "fail"}}, "refused"),
    ],
)
def test_a_gateway_refuses_with_the_words_of_check(make_gateway: Make, folder: Path, more: Entry, cause: str) -> None:
    """And starts no engine for it."""
    entry: Entry = {"target": {"path": "target.gguf"}} | more
    entry["args"] = [word.replace("{folder}", str(folder)) for word in entry.get("args", [])]
    for key in ("target", "draft", "mmproj"):
        if key in entry:
            entry[key] = {"path": str(folder / entry[key]["path"])}
    gateway = make_gateway(models={"m": entry}, llama_server=BINARY)
    error = gateway.chat().json()["error"]
    assert error["cause"] == cause
    done = gateway.command("check", "m")
    reason = next(line for line in done.stdout.splitlines() if "CANNOT START: " in line).partition("START: ")[2]
    assert reason.rstrip(".") in error["message"]
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1 model: 1 cannot start")
