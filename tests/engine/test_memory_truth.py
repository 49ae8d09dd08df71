"""What a real engine takes is found once it is up: by its own report where it makes one, else of its process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import BINARY
from tests.support.gateway import Gateway, eventually

pytestmark = pytest.mark.skipif(BINARY is None, reason="no llama-server: make llama-server")
MIB = 1 << 20


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "measured by its process"),
        (["-lv", "4"], "as the engine itself reports"),
        (["--log-jsonl"], "as the engine itself reports"),
    ],
    ids=["silent", "buffers", "records"],
)
@pytest.mark.parametrize("drafted", [False, True], ids=["alone", "drafted"])
def test_a_real_engine_is_measured(
    make_gateway: Callable[..., Gateway], models: dict[str, Path], args: list[str], words: str, drafted: bool
) -> None:
    """The next plan says how it is known, and gives the figure."""
    entry: dict[str, Any] = {"target": {"path": str(models["target"])}, "ctx_size": 16384, "threads": 1, "args": args}
    if drafted:
        entry["draft"] = {"path": str(models["draft"])}
    gateway = make_gateway(models={"m": entry}, llama_server=BINARY, max_loaded=None)
    assert gateway.chat(max_tokens=2).status_code == 200
    told = eventually(lambda: _told(gateway, words))
    (host,) = gateway.client.get("/admin/memory", headers=gateway.admin).json()["data"]
    assert 1 * MIB < host["engines"]["m"] < 400 * MIB, told


def _told(gateway: Gateway, words: str) -> str:
    """What `plan` says of memory, once it says so."""
    plan = gateway.command("plan", "m").stderr
    return plan if words in plan else ""
