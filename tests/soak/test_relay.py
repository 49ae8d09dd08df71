"""Hundreds of paced streams through real sockets, while engines are swapped and killed beside them."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import chaos, soak
from tests.support.chaos import Chaos, Outcomes
from tests.support.gateway import Gateway, eventually, header_only
from tests.support.paths import ROOT
from tests.support.relay_soak import RelayOutcomes, RelaySoak

Make = Callable[..., Gateway]

SECONDS = max(30.0, soak.SECONDS)
# On two cores, which clients, upstream and gateway share; a short soak has fewer
STREAMS = int(os.environ.get("SOAK_STREAMS") or (500 if SECONDS >= 300 else 100))
KILL_EVERY_S = 15.0
ALIASES = ("a", "b", "c")
KEY = "soak-key-of-all"
# Growth of memory that a buffer or a cache may explain
MOST_GROWTH = 32 << 20


@pytest.fixture
def upstream() -> Iterator[int]:
    """The port of a server of numbered streams."""
    command = [sys.executable, "-m", "tests.support.paced_upstream"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


@pytest.fixture
def gateway(make_gateway: Make, tmp_path: Path, upstream: int) -> Gateway:
    """One attached server, and three models with two places, so that each client's turn is a swap."""
    local = {
        "target": {"path": str(header_only(tmp_path / "model.gguf"))},
        "parallel": 4,
        "args": ["--load-seconds", "0.5", "--tps", "40"],
    }
    models = {"paced": {"url": f"http://127.0.0.1:{upstream}"}, **dict.fromkeys(ALIASES, local)}
    return make_gateway(models=models, max_loaded=2, env={"TANDEM_API_KEYS": KEY})


def descriptors(process: psutil.Process) -> tuple[int, int]:
    """Open files and threads."""
    return process.num_fds(), process.num_threads()


@pytest.mark.soak
def test_streams_are_whole_whatever_happens_beside_them(gateway: Gateway) -> None:
    seed, process = soak.seed(), psutil.Process(gateway.process.pid)
    limited = gateway.command("keys", "create", "--name", "limited", "--concurrency", "2").stdout.split()[-1]
    headers = {"authorization": f"Bearer {KEY}"}
    relay = RelaySoak(gateway.url, KEY, limited, process.pid, random.Random(seed))
    clients = Chaos(
        gateway, ALIASES, tokens=40, rng=random.Random(seed + 1), clients=4, kill_every=KILL_EVERY_S, headers=headers
    )
    # Imports, caches and the threads of the pool
    asyncio.run(together(relay, clients, 20, 6))
    gateway.client.close()
    before = rested(process)
    relay.outcomes.memory.clear()
    outcomes, beside = asyncio.run(together(relay, clients, STREAMS, SECONDS))
    print(outcomes, beside, sep="\n")
    assert not outcomes.odd, outcomes.odd[:5]
    assert not beside.ends[chaos.DISHONEST] and not beside.odd, beside.odd
    assert outcomes.ends["complete"] > STREAMS / 2 and outcomes.ends["left"] and outcomes.ends["limited 429"]
    assert outcomes.ends["large body"] >= 2 and beside.kills.total() >= SECONDS / KILL_EVERY_S / 2
    assert outcomes.slope * SECONDS / 2 < MOST_GROWTH, str(outcomes)
    eventually(lambda: descriptors(process)[0] <= before[0])
    eventually(lambda: descriptors(process)[1] <= before[1] + 1)


def rested(process: psutil.Process) -> tuple[int, int]:
    """What is open once the connections of the clients and the pool's are closed."""
    last = descriptors(process)

    def still() -> bool:
        nonlocal last
        before, last = last, descriptors(process)
        return before == last

    asyncio.run(asyncio.sleep(8))
    eventually(still)
    return last


async def together(relay: RelaySoak, clients: Chaos, streams: int, seconds: float) -> tuple[RelayOutcomes, Outcomes]:
    return await asyncio.gather(relay.run(streams, seconds), clients.run(seconds))
