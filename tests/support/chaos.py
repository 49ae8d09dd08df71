"""Polite clients on models whose engines are killed, and what became of each of their requests."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psutil

from tests.support.gateway import Gateway

CLIENTS = 12
KILL_EVERY_S = 3.0
SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)
# As openai-python has it: two more tries, and no more than this is waited for.
TRIES, LONGEST_WAIT_S = 3, 8.0
# llama-server's handler of SIGTERM may wait for a lock that its own thread holds (b11434), and then it never ends
DEADLOCKED_AFTER_S = 15.0
# What a killed engine is said to have died of
CAUSES = frozenset(("killed", "crashed", "terminated"))

COMPLETE, BROKEN, REFUSED, DIED = "complete", "broken off with an error", "refused", "engine died"
DISHONEST = "dishonest"


@dataclass
class Outcomes:
    """One count for each HTTP request, by what became of it; `odd` holds what nothing explains."""

    ends: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    # Of whole requests, their tries together
    served: int = 0
    given_up: int = 0
    odd: list[str] = field(default_factory=list)

    @property
    def share_refused(self) -> float:
        return self.ends[REFUSED] / max(1, self.ends.total())

    def __str__(self) -> str:
        total = max(1, self.ends.total())
        ends = ", ".join(f"{count} {kind} ({count / total:.1%})" for kind, count in self.ends.most_common())
        tries = f"{self.served} requests served, {self.given_up} given up, in {self.ends.total()} tries"
        return f"{tries}: {ends}\nrefusals: {dict(self.refusals)}\nkills: {dict(self.kills)}"


class Chaos:
    """`tokens` is how many each answer has, as the engine is asked for. `headers` are those of each request."""

    def __init__(
        self,
        gateway: Gateway,
        aliases: Sequence[str],
        *,
        tokens: int,
        rng: random.Random,
        clients: int = CLIENTS,
        kill_every: float = KILL_EVERY_S,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._clients = clients
        self._kill_every = kill_every
        self._headers = dict(headers or {})
        self.outcomes = Outcomes()
        self._gateway = gateway
        self._aliases = list(aliases)
        self._tokens = tokens
        self._rng = rng
        self._asked = 0
        # A second SIGTERM makes llama-server exit with 1 (b11434), which is no word of a signal
        self._signalled: set[int] = set()
        self._terminated: dict[int, float] = {}

    async def run(self, seconds: float) -> Outcomes:
        """Clients come one after another, and all have their answers in the end."""
        end = asyncio.get_running_loop().time() + seconds
        async with httpx2.AsyncClient(
            base_url=self._gateway.url, timeout=120, trust_env=False, headers=self._headers
        ) as client:
            clients = [self._polite(client, number, end) for number in range(self._clients)]
            burying = asyncio.create_task(self._bury())
            await asyncio.gather(self._killer(end), *clients)
            burying.cancel()
        return self.outcomes

    async def _bury(self) -> None:
        """Ends engines that a SIGTERM has hung, as an operator would."""
        while True:
            await asyncio.sleep(1)
            late = asyncio.get_running_loop().time() - DEADLOCKED_AFTER_S
            for engine in [pid for pid, when in self._terminated.items() if when < late]:
                del self._terminated[engine]
                with suppress(ProcessLookupError):
                    os.kill(engine, signal.SIGKILL)

    async def _killer(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < end - self._kill_every:
            await asyncio.sleep(self._kill_every)
            number = self._rng.choice(SIGNALS)
            engines = [pid for pid in await asyncio.to_thread(_ripe, self._gateway) if pid not in self._signalled]
            if engines:
                engine = self._rng.choice(engines)
                self._signalled.add(engine)
                if number is signal.SIGTERM:
                    self._terminated[engine] = loop.time()
                os.kill(engine, number)
                self.outcomes.kills[number.name] += 1

    async def _polite(self, client: httpx2.AsyncClient, number: int, end: float) -> None:
        """Asks one model after another, streamed by every second client; waits as it is told to, and no longer."""
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            self._asked += 1
            question = {"role": "user", "content": f"request {self._asked}"}
            body = {"model": self._rng.choice(self._aliases), "messages": [question], "stream": bool(number % 2)}
            served = await self._asked_patiently(client, body | {"max_tokens": self._tokens, "ignore_eos": True})
            self.outcomes.served += served
            self.outcomes.given_up += not served
            await asyncio.sleep(self._rng.uniform(0.1, 0.6))

    async def _asked_patiently(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> bool:
        for attempt in range(TRIES):
            end, wait = await self._ask(client, body)
            self.outcomes.ends[end] += 1
            if end == COMPLETE:
                return True
            if wait > LONGEST_WAIT_S:
                return False
            await asyncio.sleep(wait or 0.5 * 2**attempt)
        return False

    async def _ask(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> tuple[str, float]:
        """What became of it, and for how many seconds the client is told to wait."""
        broken = None
        lines: list[str] = []
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            try:
                async for line in answer.aiter_lines():
                    lines.append(line)
            except httpx2.RemoteProtocolError as error:
                broken = str(error)
        wait = float(answer.headers.get("retry-after", 0))
        if answer.status_code != 200:
            return self._no(answer, "\n".join(lines), broken, wait), wait
        whole = self._streamed(lines, broken) if body["stream"] else self._whole("\n".join(lines), broken)
        return whole, 0.0

    def _no(self, answer: httpx2.Response, text: str, broken: str | None, wait: float) -> str:
        """A refusal has a reason that fits: an engine that was killed, and a time to come again."""
        try:
            error = json.loads(text)["error"]
        except (ValueError, KeyError):
            return self._strange(f"{answer.status_code} {text!r} {broken}")
        reason = f"{answer.status_code} {error['code']} {error.get('cause', '')}".strip()
        self.outcomes.refusals[reason] += 1
        cause = error.get("cause")
        if answer.status_code == 502 and cause in CAUSES:
            return DIED
        known = error["code"] == "request_kills_engine" or (error["code"] == "engine_start_failed" and cause in CAUSES)
        if answer.status_code != 503 or not known or not wait:
            self.outcomes.odd.append(f"{reason}, retry-after {wait:g}: {error['message']}")
        return REFUSED

    def _streamed(self, lines: list[str], broken: str | None) -> str:
        events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        parsed = [json.loads(event) for event in events if event != "[DONE]"]
        errors = [event["error"] for event in parsed if "error" in event]
        if events and events[-1] == "[DONE]" and not broken and not errors:
            choices = [choice for event in parsed for choice in event.get("choices", ())]
            said = sum(bool(choice["delta"].get("content")) for choice in choices)
            finished = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
            return COMPLETE if said and finished == ["length"] else self._strange(f"{said} chunks, then {finished}")
        if errors and broken and "[DONE]" not in events:
            self.outcomes.refusals[f"event {errors[-1]['code']} {errors[-1].get('cause', '')}".strip()] += 1
            return BROKEN
        return self._strange(f"{len(events)} events, the last {events[-1:]}, broken: {broken}")

    def _whole(self, text: str, broken: str | None) -> str:
        try:
            answer = json.loads(text)
        except ValueError:
            return BROKEN if broken else self._strange(f"no JSON: {text!r}")
        count = answer["usage"]["completion_tokens"]
        finished = answer["choices"][0]["finish_reason"]
        if broken or (count, finished) != (self._tokens, "length"):
            return self._strange(f"{count} tokens, {finished}, broken: {broken}")
        return COMPLETE

    def _strange(self, what: str) -> str:
        self.outcomes.odd.append(what)
        return DISHONEST


def _ripe(gateway: Gateway) -> list[int]:
    """Engines, and no process that is about to become one: a signal to that would not be the engine's death."""
    engines = []
    for pid in gateway.engines:
        try:
            if "--alias" in psutil.Process(pid).cmdline():
                engines.append(pid)
        except psutil.Error:
            continue
    return engines
