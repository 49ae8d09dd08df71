"""Clients of numbered streams: some read slowly, some leave, some send large bodies, one has a key with limits."""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import httpx2
import psutil

EVENTS_PER_SECOND = 20
LARGE_EVERY_S, LIMITED_EVERY_S, LOOK_EVERY_S = 8.0, 1.0, 0.5
# A client that reads nothing for so long, well below the gateway's limit
PAUSE_S = 3.0
_EVENT = re.compile(rb'"content": "t(\d+)"\}\}\], "sent": ([\d.]+)')
_DONE = b"data: [DONE]"


@dataclass
class RelayOutcomes:
    """What became of the streams; `odd` is what may not be. Times are in seconds, sizes in bytes."""

    ends: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    events: int = 0
    # Of the gateway's process: when, and how large
    memory: list[tuple[float, int]] = field(default_factory=list)

    @property
    def slope(self) -> float:
        """Bytes per second by which the memory grows, in the second half."""
        half = self.memory[len(self.memory) // 2 :]
        return statistics.linear_regression([at for at, _ in half], [size for _, size in half]).slope

    def __str__(self) -> str:
        delays = statistics.quantiles(self.delays, n=100) if len(self.delays) > 100 else [0.0] * 99
        sizes = [size for _, size in self.memory]
        return (
            f"{self.events} events; {dict(self.ends)}\n"
            f"delay p50 {delays[49] * 1e3:.1f} ms, p99 {delays[98] * 1e3:.1f} ms\n"
            f"memory {min(sizes) / 2**20:.0f} to {max(sizes) / 2**20:.0f} MiB, "
            f"slope {self.slope * 3600 / 2**20:+.1f} MiB an hour"
        )


class _Reader(asyncio.Protocol):
    """Reads one stream, and checks that its events come in order and to the end."""

    def __init__(self, soak: RelaySoak, request: bytes, count: int, *, measured: bool) -> None:
        self._soak = soak
        self._request = request
        self._count = count
        self._measured = measured
        self._rest = b""
        self._next = 0
        self._ended_well = False
        self.leaving = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now, outcomes = time.monotonic(), self._soak.outcomes
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if (match := _EVENT.search(line)) is not None:
                if int(match[1]) != self._next:
                    outcomes.odd.append(f"t{int(match[1])} came in place of t{self._next}")
                self._next = int(match[1]) + 1
                outcomes.events += 1
                if self._measured:
                    outcomes.delays.append(now - float(match[2]))
            elif line.startswith(_DONE):
                self._ended_well = self._next == self._count
            elif b"error" in line or (line.startswith(b"HTTP/") and b" 200 " not in line):
                outcomes.odd.append(f"after t{self._next - 1}: {line[:300]!r}")
        if self._rest.startswith(b"0\r") or lines[-2:-1] == [b"0\r"]:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        outcomes = self._soak.outcomes
        if self.leaving:
            outcomes.ends["left"] += 1
        elif self._ended_well:
            outcomes.ends["complete"] += 1
        else:
            outcomes.odd.append(f"ended after {self._next} of {self._count} events: {exc}")
        if not self.gone.done():
            self.gone.set_result(None)


def _itself(reader: _Reader) -> _Reader:
    return reader


class RelaySoak:
    """`key` may do all, and `limited` may have two requests at once. `pid` is the gateway's process."""

    def __init__(self, url: str, key: str, limited: str, pid: int, rng: random.Random) -> None:
        self.outcomes = RelayOutcomes()
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._url = url
        self._key = key
        self._limited = limited
        self._process = psutil.Process(pid)
        self._rng = rng

    async def run(self, streams: int, seconds: float) -> RelayOutcomes:
        end = time.monotonic() + seconds
        async with httpx2.AsyncClient(base_url=self._url, timeout=120, trust_env=False) as client:
            readers = [self._read_again(number, end) for number in range(streams)]
            await asyncio.gather(
                self._large_bodies(client, end), self._limited_key(client, end), self._watch(end), *readers
            )
        return self.outcomes

    async def _read_again(self, number: int, end: float) -> None:
        """One stream after the other. Of ten clients one reads slowly, and one leaves."""
        await asyncio.sleep(self._rng.uniform(0, 2))
        kind = {0: "slow", 1: "leaves"}.get(number % 10, "steady")
        while (left := end - time.monotonic()) > 0:
            count = int(EVENTS_PER_SECOND * min(left, self._rng.uniform(5, 20))) + 1
            reader = _Reader(self, self._request(count), count, measured=kind == "steady")
            await asyncio.get_running_loop().create_connection(partial(_itself, reader), self._host, self._port)
            if kind == "slow":
                await self._read_slowly(reader)
            elif kind == "leaves":
                await self._leave(reader)
            await reader.gone

    async def _read_slowly(self, reader: _Reader) -> None:
        while not reader.gone.done():
            reader.transport.pause_reading()
            await asyncio.sleep(PAUSE_S)
            if not reader.transport.is_closing():
                reader.transport.resume_reading()
            await asyncio.wait({reader.gone}, timeout=1)

    async def _leave(self, reader: _Reader) -> None:
        await asyncio.wait({reader.gone}, timeout=self._rng.uniform(0, 6))
        if not reader.gone.done():
            reader.leaving = True
            reader.transport.abort()

    def _request(self, count: int) -> bytes:
        body = json.dumps(
            {"model": "paced", "stream": True, "max_tokens": count, "events_per_second": EVENTS_PER_SECOND}
            | {"messages": [{"role": "user", "content": "x"}]}
        ).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def _large_bodies(self, client: httpx2.AsyncClient, end: float) -> None:
        """An image of almost the largest body, which goes through whole."""
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        image = b'{"model":"paced","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"'
        body = image + b"data:image/png;base64," + b"A" * (63 << 20) + b'"}}]}]}'
        while time.monotonic() < end:
            answer = await client.post("/v1/chat/completions", content=body, headers=headers)
            if answer.status_code == 200 and answer.json()["bytes"] == len(body):
                self.outcomes.ends["large body"] += 1
            else:
                self.outcomes.odd.append(f"large body: {answer.status_code} {answer.text[:300]}")
            await asyncio.sleep(LARGE_EVERY_S)

    async def _limited_key(self, client: httpx2.AsyncClient, end: float) -> None:
        """Five requests at once where two are allowed: each is answered or refused by name."""
        headers = {"authorization": f"Bearer {self._limited}"}
        body = {"model": "paced", "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 5}
        while time.monotonic() < end:
            asked = [
                client.post("/v1/chat/completions", json=body | {"events_per_second": 20}, headers=headers)
                for _ in range(5)
            ]
            for answer in await asyncio.gather(*asked):
                self.outcomes.ends[f"limited {answer.status_code}"] += 1
                limit = answer.json()["error"]["limit"] if answer.status_code == 429 else ""
                if answer.status_code not in (200, 429) or limit not in ("", "concurrency"):
                    self.outcomes.odd.append(f"limited key: {answer.status_code} {answer.text[:300]}")
            await asyncio.sleep(LIMITED_EVERY_S)

    async def _watch(self, end: float) -> None:
        while time.monotonic() < end:
            self.outcomes.memory.append((time.monotonic(), self._process.memory_info().rss))
            await asyncio.sleep(LOOK_EVERY_S)
