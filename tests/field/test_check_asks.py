"""`check` beside a running gateway: it asks, and says what a request would meet now."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, eventually, header_only
from tests.support.ports import free_port

Make = Callable[..., Gateway]


@pytest.fixture
def make(make_gateway: Make, tmp_path: Path) -> Make:
    """`make(flags)`: models `m` with these flags and `other`, at a port that `check` finds."""

    def made(*args: str, **more: Any) -> Gateway:
        target = {"path": str(header_only(tmp_path / "model.gguf"))}
        models = {"m": {"target": target, "args": list(args)}, "other": {"target": target}}
        return make_gateway(models=models, port=free_port(), **more)

    return made


def said(gateway: Gateway) -> str:
    """The lines on `m`."""
    done = gateway.command("check", "m")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("admin", [False, True])
def test_an_engine_that_is_given_up_is_not_ok(make: Make, admin: bool) -> None:
    """With how that ends; /admin may have a port of its own."""
    gateway = make("--fail-load", "truncated", **({"admin_port": free_port()} if admin else {}))
    assert gateway.chat("m").status_code == 503
    text = said(gateway)
    assert "in the running gateway: failed; it is retried when a file of its entry" in text
    assert text.splitlines()[-1] == "1 model: 1 failed at the last start"


def test_an_engine_that_waits_for_another_try_says_when(make: Make) -> None:
    """Memory that another program holds."""
    gateway = make("--fail-load", "memory-cuda")
    for _ in range(5):
        # Each delay is twice as long as the one before, so that `check` meets it
        eventually(lambda: gateway.chat("m").status_code == 503 and gateway.state("m") == "backoff")
        eventually(lambda: gateway.state("m") == "stopped")
    assert gateway.chat("m").status_code == 503
    text = said(gateway)
    assert "in the running gateway: down, and started again at a request in " in text
    assert text.splitlines()[-1] == "1 model: 1 failed at the last start"


def test_a_file_that_changed_under_its_engine_is_told(make: Make, tmp_path: Path) -> None:
    """What runs is not what the file is now."""
    gateway = make()
    assert gateway.chat("m").status_code == 200
    assert "in the running gateway" not in said(gateway)
    header_only(tmp_path / "new.gguf", "qwen2").rename(tmp_path / "model.gguf")
    text = said(gateway)
    assert "in the running gateway: " in text and "model.gguf was replaced since the engine was started" in text
    assert text.splitlines()[-1] == "1 model: 1 ok"


def test_without_a_gateway_nobody_is_asked(make: Make) -> None:
    """Its last failure is in the records all the same."""
    gateway = make("--fail-load", "truncated")
    assert gateway.chat("m").status_code == 503
    gateway.terminate()
    text = said(gateway)
    assert "in the running gateway" not in text and "last failure" in text


def test_another_server_at_the_port_is_no_gateway_of_ours(make: Make) -> None:
    """It answers nothing, and `check` goes on."""
    gateway = make()
    gateway.terminate()
    with socket.create_server(("127.0.0.1", gateway.settings["port"])):
        assert said(gateway).splitlines()[-1] == "1 model: 1 ok"


def test_an_attached_server_that_does_not_answer_is_exit_code_1(make_gateway: Make) -> None:
    """`ok` is what would answer now."""
    dead = f"http://127.0.0.1:{free_port()}"
    gateway = make_gateway(models={"m": {"url": dead}})
    done = gateway.command("check")
    assert "NO ANSWER: " in done.stdout
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1 model: 1 no answer")
