"""llama-server behind a wrapper script, as for a container: what the wrapper drops is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, eventually, fake_llama_server

Make = Callable[..., Gateway]


def wrapper(folder: Path, line: str) -> str:
    """A script in the place of llama-server; `{real}` is the fake one."""
    (folder / "real").mkdir(parents=True)
    real = fake_llama_server(folder / "real")
    path = folder / "wrapper"
    path.write_text(f"#!/bin/sh\n{line.format(real=real)}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "line",
    [
        'exec env -i PATH="$PATH" {real} "$@"',
        'env -u LLAMA_API_KEY {real} "$@"',
        'LLAMA_API_KEY=another exec {real} "$@"',
    ],
)
def test_a_wrapper_that_drops_the_key_is_named_at_the_first_try(make_gateway: Make, tmp_path: Path, line: str) -> None:
    """It is our own child that answers, not somebody else on its port: another port would be no better."""
    gateway = make_gateway(llama_server=wrapper(tmp_path, line))
    eventually(lambda: gateway.state() == "fatal")
    answer = gateway.chat()
    error = answer.json()["error"]
    assert (answer.status_code, error["cause"]) == (503, "key_not_handed_on")
    assert "does not pass LLAMA_API_KEY" in error["message"] and "docker run -e" in error["message"]
    assert "retry-after" not in answer.headers
    assert not gateway.logged("port taken by another process")


def test_a_wrapper_that_hands_everything_on_serves(make_gateway: Make, tmp_path: Path) -> None:
    gateway = make_gateway(llama_server=wrapper(tmp_path, 'exec {real} "$@"'))
    assert gateway.chat().status_code == 200


def test_an_engine_that_asks_nobody_for_a_key_is_not_served(make_gateway: Make) -> None:
    """Every user of the machine could ask it, past the gateway."""
    gateway = make_gateway(args=["--wrong-key-ok"])
    assert gateway.chat().json()["error"]["cause"] == "key_not_handed_on"
