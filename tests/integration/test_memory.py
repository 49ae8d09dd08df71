"""Engines by memory: as many as fit, and none that does not. The engines are fake, what they take is estimated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.architectures import write_llama
from tests.support.gateway import Gateway, fake_llama_server

Make = Callable[..., Gateway]
# Of 64 Ki tokens a model takes about 200 MiB of the card
LONG, FAR_TOO_LONG = 65536, 1 << 20


@pytest.fixture
def on_a_card(make_gateway: Make, tmp_path: Path) -> Callable[..., Gateway]:
    """`on_a_card(a=LONG, ...)`: a gateway with a card of 8 GiB, and a model for each keyword with so long a context."""
    model = write_llama(tmp_path / "m.gguf")

    def make(memory: dict[str, str] | str = "auto", max_loaded: int | None = None, **contexts: int) -> Gateway:
        models = {name: {"target": {"path": str(model)}, "ctx_size": size} for name, size in contexts.items()}
        env = {"GGML_FAKE_GPU_MIB": "8192"}
        return make_gateway(models=models, memory=memory, max_loaded=max_loaded, env=env)

    return make


def states(gateway: Gateway) -> dict[str, str]:
    rows = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    return {row["alias"]: row["state"] for row in rows}


def places(gateway: Gateway) -> dict[str, dict[str, Any]]:
    rows = gateway.client.get("/admin/memory", headers=gateway.admin).json()["data"]
    return {row["name"]: row for row in rows}


def test_memory_decides_how_many_are_up(on_a_card: Callable[..., Gateway]) -> None:
    """Two fit; the third makes the least recently used go. Nobody has said how many."""
    gateway = on_a_card({"CUDA0": "450MiB"}, a=LONG, b=LONG, c=LONG)
    for model in "abc":
        assert gateway.chat(model).status_code == 200
        card = places(gateway)["CUDA0"]
        assert card["budget"] == 450 << 20 and sum(card["engines"].values()) + card["free"] == card["budget"]
    assert states(gateway) == {"a": "stopped", "b": "ready", "c": "ready"}
    assert set(places(gateway)["CUDA0"]["engines"]) == {"b", "c"}


def test_an_explicit_number_holds(on_a_card: Callable[..., Gateway]) -> None:
    gateway = on_a_card(max_loaded=1, a=LONG, b=LONG)
    for model in "ab":
        assert gateway.chat(model).status_code == 200
    assert states(gateway) == {"a": "stopped", "b": "ready"}


def test_what_cannot_fit_is_refused_before_anybody_goes(on_a_card: Callable[..., Gateway]) -> None:
    """With the figures, and what would make it fit; SDKs are told not to try again."""
    gateway = on_a_card({"CUDA0": "450MiB"}, a=LONG, huge=FAR_TOO_LONG)
    assert gateway.chat("a").status_code == 200
    refused = gateway.chat("huge")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (503, "insufficient_memory")
    assert refused.headers["x-should-retry"] == "false"
    assert "CUDA0 needs" in error["message"] and "of 450.00 MiB" in error["message"]
    assert error["footprint"]["CUDA0"] > error["budgets"]["CUDA0"] == 450 << 20
    assert any(words.startswith("ctx_size: ") for words in error["would_fit_with"])
    assert states(gateway) == {"a": "ready", "huge": "stopped"}


def test_memory_that_nobody_tells_holds_one_engine(make_gateway: Make, tmp_path: Path) -> None:
    """An engine that knows no --list-devices, and a line in the log."""
    model = write_llama(tmp_path / "m.gguf")
    old = tmp_path / "llama-server"
    (tmp_path / "fake").mkdir()
    fake = fake_llama_server(tmp_path / "fake")
    old.write_text(f'#!/bin/sh\ncase "$*" in *--list-devices*) exit 1 ;; esac\nexec {fake} "$@"\n')
    old.chmod(0o755)
    models = {name: {"target": {"path": str(model)}, "ctx_size": 512} for name in "ab"}
    gateway = make_gateway(models=models, max_loaded=None, llama_server=str(old))
    for model_name in "ab":
        assert gateway.chat(model_name).status_code == 200
    assert states(gateway) == {"a": "stopped", "b": "ready"}
    assert any("memory is unknown" in line["event"] for line in gateway.log)
