"""SIGHUP is no death without a word."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.support.gateway import Gateway, engines_of, eventually, fake_llama_server, free_port, header_only


@pytest.fixture(autouse=True)
def default_hangup() -> Iterator[None]:
    """Also where the tests run under `nohup`, whose children would ignore the signal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_by_hand_is_a_reload(make_gateway: Callable[..., Gateway]) -> None:
    """Without a terminal nothing has gone: the gateway reads its settings and serves on."""
    gateway = make_gateway(args=[])
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: gateway.logged("reloaded"))
    assert gateway.chat().status_code == 200


def test_a_closed_terminal_ends_the_gateway_and_its_engine(tmp_path: Path) -> None:
    """As for SIGTERM: what is in flight may end, and no engine is left."""
    model, port = header_only(tmp_path / "m.gguf"), free_port()
    settings = {
        "port": port,
        "engine_port": free_port(),
        "llama_server": str(fake_llama_server(tmp_path)),
        "state_dir": str(tmp_path / "state"),
        "cache_dir": str(tmp_path / "cache"),
        "models": {"m": {"target": {"path": str(model)}}},
    }
    (tmp_path / "tandem.yaml").write_text(yaml.safe_dump(settings))
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "llama_tandem", "serve", "--config", "tandem.yaml"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            eventually(lambda: _up(client), within=20)
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            assert client.post("/v1/chat/completions", json=body).status_code == 200
        assert len(engines_of(process.pid)) == 1
        os.close(ours)  # what a terminal window does that is closed
        assert process.wait(20) >= 0  # not killed by the signal
        assert engines_of(process.pid) == []
    finally:
        process.kill()
        process.wait()


def _up(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.HTTPError:
        return False
