"""`ps --watch` of a gateway that works, in a terminal and in a pipe."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, eventually, header_only
from tests.support.screen import TerminalProgram

Make = Callable[..., Gateway]


def slow(folder: Path, tokens: int) -> dict[str, Any]:
    """A model that answers 40 tokens per second."""
    args = ["--tps", "40", "--tokens", str(tokens)]
    return {"m": {"target": {"path": str(header_only(folder / "m.gguf"))}, "args": args}}


def answering(gateway: Gateway) -> threading.Thread:
    """A long stream, read to its end."""

    def read() -> None:
        with gateway.stream() as response:
            response.read()

    thread = threading.Thread(target=read)
    thread.start()
    return thread


@pytest.mark.parametrize("columns", [80, 120])
def test_engines_and_requests_are_seen_as_they_are_now(columns: int, make_gateway: Make, tmp_path: Path) -> None:
    gateway = make_gateway(models=slow(tmp_path, 200))
    eventually(lambda: gateway.state() == "ready")
    env = {"TANDEM_PORT": gateway.url.rpartition(":")[2]}
    with TerminalProgram(gateway.folder, "ps", "--watch", columns=columns, env=env) as terminal:
        terminal.see("ready")
        assert "0/1" in terminal.screen and "in flight" not in terminal.screen
        reading = answering(gateway)
        screen = terminal.see("answering")
        row = next(line for line in screen.splitlines() if line.startswith("m ") and "ready" in line)
        assert "1/1" in row and max(map(len, screen.splitlines())) <= columns
        terminal.resize(60)
        terminal.see("answering")
        reading.join()
        terminal.see("0/1")
        terminal.type("\x03")
        assert terminal.end() == 130 and "Traceback" not in terminal.screen
        assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")  # the cursor is back


def test_requests_in_flight_are_listed_for_admins(make_gateway: Make, tmp_path: Path) -> None:
    gateway = make_gateway(models=slow(tmp_path, 100))
    reading = answering(gateway)
    rows = eventually(lambda: gateway.client.get("/admin/requests", headers=gateway.admin).json()["data"])
    assert rows[0]["model"] == "m" and rows[0]["request"] == "POST /v1/chat/completions"
    reading.join()
    eventually(lambda: not gateway.client.get("/admin/requests", headers=gateway.admin).json()["data"])
    assert gateway.client.get("/admin/requests").status_code == 401
    [engine] = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    assert engine["memory"] > 1_000_000 and engine["tok_s"] > 0


def test_in_a_pipe_there_are_no_escape_codes(make_gateway: Make) -> None:
    gateway = make_gateway()
    command = [sys.executable, "-m", "app", "ps", "--watch", "--config", str(gateway.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline().startswith("model")
        assert gateway.terminate(within=15) == 0
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "\x1b" not in out and "No gateway answers" in err
