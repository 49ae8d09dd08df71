"""The embedded engine by itself: a llama-server to its exit code."""

import os
import re
import signal
import socket
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import httpx2
import pytest
from packaging.requirements import Requirement

from app.engine.dialect import Dialect
from app.engine.locate import EMBEDDED
from tests.support import tiny_models
from tests.support.gateway import eventually
from tests.support.paths import ROOT
from tests.support.ports import free_port

PATIENCE_S = 30
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(*flags, **environment)`: the process, its two outputs read together."""
    made: list[subprocess.Popen[str]] = []
    own = {"XDG_CONFIG_HOME": str(tmp_path)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}

    def spawn(*flags: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*EMBEDDED, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            env=inherited | own | environment,
        )
        made.append(process)
        return process

    yield spawn
    for process in made:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def flags_for(model: Path, port: int) -> list[str]:
    return ["--model", str(model), "--port", str(port), "--host", "127.0.0.1", "--ctx-size", "256", "--threads", "1"]


def healthy(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    text, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, text


def test_help_is_a_dialect(start: Start) -> None:
    """Probed like any binary; what plans emit is all there."""
    code, page = ended(start("--help"))
    assert code == 0
    needed = {"--model", "--alias", "--port", "--host", "--parallel", "--ctx-size", "--spec-type", "--model-draft"}
    assert needed <= Dialect.from_help(page).flags


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--no-such-flag"], "error: invalid argument: --no-such-flag"),
        (["--port", "many"], 'error while handling argument "--port"'),
    ],
)
def test_flags_are_refused_as_the_binary_refuses_them(start: Start, flags: list[str], words: str) -> None:
    """Its words, and exit code 1: the diagnosis reads them."""
    code, text = ended(start(*flags))
    assert (code, words in text) == (1, True), text


def test_the_wheel_that_is_pinned_is_the_wheel_that_works(start: Start) -> None:
    """Nothing stands in for its parser, so the range and what is installed here have to go together."""
    [wanted] = [
        requirement
        for requirement in map(Requirement, PYPROJECT["project"]["optional-dependencies"]["embedded"])
        if requirement.name == "xllamacpp"
    ]
    assert version("xllamacpp") in wanted.specifier
    assert {"<", ">="} == {specifier.operator for specifier in wanted.specifier}
    assert ended(start("--help"))[0] == 0


@pytest.mark.parametrize("kind", ["missing", "junk", "truncated"])
def test_files_that_are_no_models(start: Start, tmp_path: Path, kind: str) -> None:
    """Exit code 1, and llama.cpp has said why."""
    path = tmp_path / "model.gguf"
    if kind == "junk":
        tiny_models.write_not_gguf(path)
    elif kind == "truncated":
        tiny_models.write_truncated(path)
    code, text = ended(start(*flags_for(path, free_port())))
    assert (code, "model.gguf" in text) == (1, True), text


def test_a_port_that_is_taken(start: Start, tmp_path: Path) -> None:
    """Named before a model is loaded for nothing, and the process ends."""
    model = tiny_models.write_target(tmp_path / "t.gguf")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, text = ended(start(*flags_for(model, other.getsockname()[1])))
    assert code == 1 and "couldn't bind HTTP server socket" in text, text


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for the signal (proc(5), SigCgt)."""
    [mask] = re.findall(r"^SigCgt:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_idle(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    """Cleanly: exit code 0."""
    port = free_port()
    process = start(*flags_for(tiny_models.write_target(tmp_path / "t.gguf"), port))
    eventually(lambda: healthy(port), within=PATIENCE_S)
    # It is healthy a moment before the load gives the interpreter back, and the handlers are set.
    eventually(lambda: catches(process.pid, number), within=PATIENCE_S)
    process.send_signal(number)
    assert ended(process)[0] == 0


def test_a_signal_ends_it_in_the_middle_of_a_stream(start: Start, tmp_path: Path) -> None:
    """The binary would go on until the stream's next ping; here the gateway has drained before."""
    port = free_port()
    process = start(*flags_for(tiny_models.write_target(tmp_path / "t.gguf"), port))
    eventually(lambda: healthy(port), within=PATIENCE_S)
    body = {"prompt": "a", "n_predict": 200, "stream": True, "ignore_eos": True}
    with (
        suppress(httpx2.HTTPError),
        httpx2.stream("POST", f"http://127.0.0.1:{port}/completion", json=body, trust_env=False) as stream,
    ):
        next(stream.iter_bytes())
        process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


@pytest.mark.parametrize("wait", [0.0, 0.2, 0.5])
def test_a_signal_ends_it_while_it_comes_up(start: Start, tmp_path: Path, wait: float) -> None:
    """At whatever point: before Python's handlers, in the load, after it."""
    process = start(*flags_for(tiny_models.write_target(tmp_path / "t.gguf"), free_port()))
    time.sleep(wait)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] in (0, -signal.SIGTERM)


def test_it_ends_with_its_parents_pipe(start: Start, tmp_path: Path) -> None:
    """Where the kernel cannot tie it to the gateway, the end of stdin is the gateway's end."""
    port = free_port()
    model = tiny_models.write_target(tmp_path / "t.gguf")
    process = start(*flags_for(model, port), LLAMA_TANDEM_PARENT_STDIN="1")
    eventually(lambda: healthy(port), within=PATIENCE_S)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(PATIENCE_S) == 1


def test_a_users_own_folder_named_app_is_left_alone(start: Start, tmp_path: Path) -> None:
    """Nothing of the working folder is imported in our place."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('imported')")
    assert ended(start("--help"))[0] == 0
