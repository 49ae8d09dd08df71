"""Five real models with memory for two, under load: engines are killed, and the file is reloaded every 20 seconds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import BINARY
from tests.support import chaos, soak, tiny_models
from tests.support.chaos import Chaos, Outcomes
from tests.support.gateway import Gateway, eventually
from tests.support.memory_watch import MemorySamples, MemoryWatch

Make = Callable[..., Gateway]

# Five minutes by default, and one in CI
SECONDS = max(60.0, 2.5 * soak.SECONDS)
ALIASES = ("a", "b", "c", "d", "e")


@pytest.fixture
def crowded(make_gateway: Make, tmp_path: Path) -> tuple[Gateway, Path]:
    """Each model has been up once, so that what it takes is known; then memory is cut down to two and a half."""
    path = tiny_models.write_target(tmp_path / "target.gguf", context=16384)
    entries: dict[str, Any] = {
        alias: {"target": {"path": str(path)}, "threads": 1, "parallel": 4, "ctx_size": 8192 + 1024 * n}
        for n, alias in enumerate(ALIASES)
    }
    gateway = make_gateway(
        models=entries, llama_server=BINARY or "embedded", max_loaded=None, memory_margin=0, queue_timeout=300
    )
    for alias in ALIASES:
        assert gateway.chat(alias, max_tokens=2).status_code == 200
    sizes = eventually(lambda: _measured(gateway))
    gateway.reload(memory={"host": int(2.5 * max(sizes.values()))})
    return gateway, path


def _measured(gateway: Gateway) -> dict[str, int] | None:
    """What all five take, once each was measured."""
    rows = gateway.client.get("/admin/memory", headers=gateway.admin).json()["data"]
    sizes: dict[str, int] = next(row["engines"] for row in rows if row["name"] == "host")
    plans = {alias: gateway.command("check", alias).stdout for alias in ALIASES}
    return sizes if len(sizes) == len(ALIASES) and all("measured" in plan for plan in plans.values()) else None


async def _together(one: Chaos, other: MemoryWatch) -> tuple[Outcomes, MemorySamples]:
    return await asyncio.gather(one.run(SECONDS), other.run(SECONDS))


@pytest.mark.soak
def test_memory_keeps_to_its_budget_whatever_fails(crowded: tuple[Gateway, Path]) -> None:
    """No refusal that a killed engine does not explain; what others' loads do to a model that is up is printed."""
    gateway, file = crowded
    seed = soak.seed()
    clients = Chaos(gateway, ALIASES, tokens=24, rng=random.Random(seed))
    watch = MemoryWatch(gateway, ALIASES, file, random.Random(seed + 1))
    outcomes, samples = asyncio.run(_together(clients, watch))
    print(outcomes, samples, sep="\n")
    assert not outcomes.ends[chaos.DISHONEST] and not outcomes.odd, outcomes.odd
    assert outcomes.kills.total() >= SECONDS / chaos.KILL_EVERY_S / 2, "too few to say anything"
    assert samples.reloads >= int(SECONDS / 20) - 1
    # The first looks may still see engines go that had come up before memory was cut down
    settled = next(at for at, size in enumerate(samples.real) if size <= samples.budget)
    assert settled < len(samples.real) / 4
    assert max(samples.real[settled:]) <= samples.budget
    assert max(samples.told[settled:]) <= samples.budget
    # Within a minute there may be no moment in which nothing moves
    assert sum(map(len, samples.first.values())) > 1
