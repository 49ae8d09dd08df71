"""`serve` listens before its slow imports: clients wait for its answer, and a wrong file still ends it unserved."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import PATIENCE_S
from tests.support.paths import ROOT
from tests.support.ports import free_port

REQUEST = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


@contextmanager
def serving(folder: Path, *words: str, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """The real program from its first line on; tests usually fork one that has imported everything."""
    own = {"state_dir": str(folder / "state"), "cache_dir": str(folder / "cache")}
    (folder / "tandem.yaml").write_text(json.dumps(own | settings))
    env = {name: value for name, value in os.environ.items() if not name.startswith("TANDEM_")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "llama_tandem", "serve", *words],
        cwd=folder,
        env=env | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def connected(port: int, process: subprocess.Popen[str]) -> socket.socket:
    """A connection as soon as there can be one."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        except OSError:
            time.sleep(0.001)
    raise AssertionError("nothing listens")


def has_imported(process: subprocess.Popen[str], library: str) -> bool:
    return library in Path(f"/proc/{process.pid}/maps").read_text()


ATTACHED = {"m": {"url": "http://127.0.0.1:9"}}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("where", ["file", "option"])
def test_a_client_may_connect_before_the_imports(where: str, tmp_path: Path) -> None:
    """It waits for its answer."""
    port = free_port()
    words, settings = (["--port", str(port)], {}) if where == "option" else ([], {"port": port})
    with serving(tmp_path, *words, models=ATTACHED, **settings) as process:
        with connected(port, process) as client:
            assert not has_imported(process, "pydantic_core")
            client.sendall(REQUEST)
            assert client.recv(1024).startswith(b"HTTP/1.1 200")
            assert has_imported(process, "pydantic_core")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prot": 1, "models": ATTACHED}, "prot: no such key"),
        ({"models": {}}, "no models are configured"),
        ({"models": {"m": {"url": "nowhere"}}}, "models.m.url"),
        ({"host": "0.0.0.0", "models": ATTACHED}, "key"),
    ],
)
def test_a_wrong_file_is_reported_and_nothing_is_served(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    """Though clients could connect."""
    port = free_port()
    with serving(tmp_path, port=port, **settings) as process:
        with connected(port, process) as client:
            client.sendall(REQUEST)
            with pytest.raises(ConnectionResetError):
                client.recv(1024)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1 and words in stderr and "Traceback" not in stderr and stdout == ""


def test_ctrl_c_during_the_imports_prints_no_traceback(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, port=port, models=ATTACHED) as process:
        connected(port, process).close()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in stdout + stderr


def test_plain_options_need_no_command_line() -> None:
    """Its library takes time and memory, which every gateway would have to bear."""
    code = (
        "import app.__main__, app.cli.plain_serve, app.server.serve, app.cli.greeting, sys;"
        "assert 'typer' not in sys.modules; from app.cli import cli, main; assert 'typer' in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_a_wrong_option_gets_the_help_of_the_command(tmp_path: Path) -> None:
    """As before any of this; and nothing listens meanwhile."""
    with serving(tmp_path, "--prot", "1", models=ATTACHED) as process:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 2 and "No such option: --prot" in stderr and stdout == ""
