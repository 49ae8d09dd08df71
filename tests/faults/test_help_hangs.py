"""A llama-server whose `--help` never ends: a wedged driver, or a script that waits for something."""

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app.engine import probe
from app.engine.locate import EngineBinary
from app.errors import ProbeError
from tests.support.gateway import Gateway, eventually

Make = Callable[..., Gateway]


def hanging(folder: Path, *lines: str) -> Path:
    """A script that writes down the pids of what it starts."""
    path = folder / "hangs"
    path.write_text("\n".join(("#!/bin/sh", f"pids={folder}/pids", *lines, "")))
    path.chmod(0o755)
    return path


def alive(folder: Path) -> list[int]:
    found = []
    for pid in map(int, (folder / "pids").read_text().split()):
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def started(folder: Path) -> bool:
    return (folder / "pids").is_file() and bool(alive(folder))


def test_it_does_not_hold_up_the_end(make_gateway: Make, tmp_path: Path) -> None:
    """SIGTERM ends the gateway well before the probe's patience does, and nobody is left."""
    script = hanging(tmp_path, "sleep 300 & echo $$ $! > $pids", "wait")
    gateway = make_gateway(llama_server=str(script))
    eventually(lambda: started(tmp_path))
    assert gateway.terminate(within=probe.PATIENCE_S / 2) == 0
    eventually(lambda: not alive(tmp_path))


def test_it_dies_with_the_gateway(make_gateway: Make, tmp_path: Path) -> None:
    """`kill -9` included, like an engine."""
    script = hanging(tmp_path, "echo $$ > $pids", "exec sleep 300")
    gateway = make_gateway(llama_server=str(script))
    eventually(lambda: started(tmp_path))
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait()
    eventually(lambda: not alive(tmp_path))


def test_what_is_given_up_ends_with_all_that_it_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` and `plan` leave nobody behind either."""
    monkeypatch.setattr(probe, "PATIENCE_S", 1)
    script = hanging(tmp_path, "sleep 300 & echo $$ $! > $pids", "wait")
    with pytest.raises(ProbeError, match="did not end within 1 s"):
        probe.help_page(EngineBinary((str(script),), (script,), "hangs"), probe.RunningProbes())
    eventually(lambda: not alive(tmp_path))


def test_one_that_begins_after_the_end_is_ended_too(tmp_path: Path) -> None:
    """Its thread was on the way; without this the gateway would wait for the probe's patience."""
    script = hanging(tmp_path, "sleep 300 & echo $$ $! > $pids", "wait")
    running = probe.RunningProbes()
    running.close()
    with pytest.raises(ProbeError, match="was ended by SIGKILL"):
        probe.help_page(EngineBinary((str(script),), (script,), "hangs"), running)
    assert not started(tmp_path)
