"""What goes on beside the clients of a soak: the file reloaded, memory summed up, and times to the first token."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from app.engine.process_memory import memory_of
from tests.support.gateway import Gateway

RELOAD_EVERY_S, LOOK_EVERY_S = 20.0, 0.25
_MOVING = frozenset(("starting", "draining", "stopping"))


@dataclass
class MemorySamples:
    """Bytes of the host, of all engines together: as the gateway tells, and as the operating system does."""

    told: list[int] = field(default_factory=list)
    real: list[int] = field(default_factory=list)
    budget: int = 0
    reloads: int = 0
    # Seconds to the first event of a model that was up: while others load or stop, and while nothing does
    first: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __str__(self) -> str:
        rows = [
            f"TTFT while {what}: median {statistics.median(times) * 1e3:.0f} ms, "
            f"p90 {statistics.quantiles(times, n=10)[-1] * 1e3:.0f} ms of {len(times)}"
            for what, times in sorted(self.first.items())
            if len(times) > 1
        ]
        most = f"most memory: {max(self.told) / 1e6:.0f} MB told, {max(self.real) / 1e6:.0f} MB real"
        looks = f"of {self.budget / 1e6:.0f} MB, in {len(self.real)} looks; {self.reloads} reloads"
        return "\n".join((f"{most}, {looks}", *rows))


class MemoryWatch:
    """`file` is what engines map."""

    def __init__(self, gateway: Gateway, aliases: Sequence[str], file: Path, rng: random.Random) -> None:
        self.samples = MemorySamples()
        self._gateway = gateway
        self._aliases = list(aliases)
        self._file = file
        self._rng = rng

    async def run(self, seconds: float) -> MemorySamples:
        end = time.monotonic() + seconds
        async with httpx2.AsyncClient(base_url=self._gateway.url, timeout=120, trust_env=False) as client:
            await asyncio.gather(self._reloads(client, end), self._looks(client, end), self._asks(client, end))
        return self.samples

    async def _reloads(self, client: httpx2.AsyncClient, end: float) -> None:
        """Of a file that says something else each time."""
        while time.monotonic() < end - RELOAD_EVERY_S:
            await asyncio.sleep(RELOAD_EVERY_S)
            self._gateway.rewrite(queue_timeout=300 + self.samples.reloads % 2)
            answer = await client.post("/admin/reload", headers=self._gateway.admin)
            assert answer.status_code == 200, answer.text
            self.samples.reloads += 1

    async def _looks(self, client: httpx2.AsyncClient, end: float) -> None:
        while time.monotonic() < end:
            rows = (await client.get("/admin/memory", headers=self._gateway.admin)).json()["data"]
            host = next(row for row in rows if row["name"] == "host")
            self.samples.budget = host["budget"]
            self.samples.told.append(sum(host["engines"].values()))
            self.samples.real.append(await asyncio.to_thread(self._held))
            await asyncio.sleep(LOOK_EVERY_S)

    def _held(self) -> int:
        each = (memory_of(pid, [self._file]) for pid in self._gateway.engines)
        return sum(held.own + held.mapped for held in each if held is not None)

    async def _asks(self, client: httpx2.AsyncClient, end: float) -> None:
        """A model that is up, with others that move or not; one that has gone meanwhile tells nothing."""
        while time.monotonic() < end:
            states = await self._states(client)
            ready = [alias for alias in self._aliases if states.get(alias, ("",))[0] == "ready"]
            await asyncio.sleep(0.2)
            if not ready:
                continue
            alias = self._rng.choice(ready)
            seconds = await self._first(client, alias)
            after = await self._states(client)
            # Of an engine that stayed up throughout: a cold start is not what is measured
            if seconds is not None and after.get(alias) == states[alias]:
                moves = _MOVING & {state for state, _ in (*states.values(), *after.values())}
                self.samples.first["others load or stop" if moves else "nothing moves"].append(seconds)

    async def _states(self, client: httpx2.AsyncClient) -> dict[str, tuple[str, int | None]]:
        """State and process."""
        rows = (await client.get("/admin/engines", headers=self._gateway.admin)).json()["data"]
        return {row["alias"]: (row["state"], row["pid"]) for row in rows}

    async def _first(self, client: httpx2.AsyncClient, alias: str) -> float | None:
        body: dict[str, Any] = {"model": alias, "messages": [{"role": "user", "content": "first"}], "max_tokens": 2}
        began = time.monotonic()
        async with client.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {") and json.loads(line[6:]).get("choices"):
                    return time.monotonic() - began
        return None
