"""`logs` of a running gateway, and `edit` of its settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, eventually
from tests.support.screen import TerminalProgram

Make = Callable[..., Gateway]


def run(gateway: Gateway, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *words, "--config", str(gateway.config)]
    environment = os.environ | {"TANDEM_PORT": gateway.url.rpartition(":")[2]} | env
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_logs_shows_the_gateway_and_each_model(make_gateway: Make) -> None:
    """From memory, whatever the log's format and level is."""
    gateway = make_gateway()
    assert gateway.chat().status_code == 200
    own = run(gateway, "logs")
    assert own.returncode == 0 and "  200 chat  m  " in own.stdout and "\x1b" not in own.stdout
    engine = run(gateway, "logs", "m")
    assert "model loaded" in engine.stdout and "engine ready" in engine.stdout
    assert len(run(gateway, "logs", "m", "-n", "2").stdout.splitlines()) == 2
    assert run(gateway, "logs", "--json", "-n", "1").stdout.startswith("{")
    unknown = run(gateway, "logs", "nobody")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr and unknown.stdout == ""
    assert gateway.client.get("/admin/logs").status_code == 401


def test_logs_follows_until_ctrl_c_or_the_gateways_end(make_gateway: Make) -> None:
    """What comes is shown as it comes."""
    gateway = make_gateway()
    env = {"TANDEM_PORT": gateway.url.rpartition(":")[2]}
    words = ("logs", "-f", "--config", str(gateway.config))
    with TerminalProgram(gateway.folder, *words, env=env) as terminal:
        gateway.chat()
        terminal.see("200 chat")
        terminal.type("\x03")
        assert terminal.end() == 130 and "Traceback" not in terminal.screen
    with TerminalProgram(gateway.folder, *words, env=env) as terminal:
        terminal.see("200 chat")
        assert gateway.terminate(within=15) == 0  # whoever follows does not hold it up
        terminal.see("shutting down")
        assert terminal.end() == 0
    gateway = make_gateway()
    env = {"TANDEM_PORT": gateway.url.rpartition(":")[2]}
    words = ("logs", "-f", "--config", str(gateway.config))
    with TerminalProgram(gateway.folder, *words, env=env) as terminal:
        terminal.see("engine ready")
        gateway.process.kill()
        assert terminal.end() == 1 and "has stopped." in terminal.screen


def editor(folder: Path, script: str) -> str:
    path = folder / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("printf 'port: 9\\n' > \"$1\"", 0, "is valid: 0 models"),
        ("true", 0, "Nothing has changed."),
        ("printf 'prot: 9\\n' > \"$1\"", 1, "no such key; did you mean port?"),
        ("exit 3", 1, "exited with 3"),
    ],
)
def test_edit_checks_what_was_saved(script: str, code: int, words: str, tmp_path: Path) -> None:
    """With a caret, as `check` does; what is wrong stays for the next time."""
    (tmp_path / "tandem.yaml").write_text("port: 8\n")
    env = os.environ | {"EDITOR": editor(tmp_path, script), "VISUAL": ""}
    command = [sys.executable, "-m", "app", "edit", "--config", str(tmp_path / "tandem.yaml")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == code and words in done.stdout + done.stderr


def test_edit_opens_again_what_is_wrong(tmp_path: Path) -> None:
    """On a terminal one is asked."""
    file = tmp_path / "tandem.yaml"
    file.write_text("port: 8\n")
    script = 'if grep -q prot: "$1"; then echo "port: 9" > "$1"; else echo "prot: 9" > "$1"; fi'
    env = {"EDITOR": editor(tmp_path, script), "VISUAL": ""}
    with TerminalProgram(tmp_path, "edit", env=env) as terminal:
        terminal.see("did you mean port?")
        terminal.see("Edit it again? [Y/n]")
        terminal.type("\r")
        terminal.see("is valid")
        assert terminal.end() == 0
    eventually(lambda: file.read_text() == "port: 9\n")
