"""Schedulers whose engines do as the test says, or as real ones would on a clock that jumps."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from app.errors import Diagnosis
from app.models.ref import ModelRef
from app.scheduler.lease import Lease
from app.scheduler.loop import Scheduler
from app.scheduler.queue import Ticket
from app.scheduler.residency import Residency
from app.supervisor.load_progress import LoadProgress
from app.supervisor.readiness import EngineAddress
from app.supervisor.states import EngineState
from tests.support.models import ref_to

_VERBS = ("start", "drain", "drained", "stop", "hurry", "retry", "reset", "answered")


class ObedientEngine:
    """Notes the verbs it gets; `become` is what the owning task does."""

    def __init__(self, alias: str, scheduler: Scheduler, state: EngineState) -> None:
        self.alias = alias
        self.state = state
        self.verbs: list[str] = []
        self.diagnosis: Diagnosis | None = None
        self.retry_after: float | None = None
        self.retry_at = math.inf
        self.may_come_up = True
        self.loading: LoadProgress | None = None
        self.pid = self.port = self.host = self.speculation = self.facts = self.plan = None
        self.address = EngineAddress(f"http://{alias}", f"key of {alias}")
        self.refuses: Exception | None = None
        self.checking = asyncio.Event()
        self.checking.set()
        self._scheduler = scheduler
        self._changed = asyncio.Event()

    def __getattr__(self, verb: str) -> Any:
        if verb not in _VERBS:
            raise AttributeError(verb)
        return lambda: self.verbs.append(verb)

    async def preflight(self) -> None:
        await self.checking.wait()
        if self.refuses is not None:
            raise self.refuses

    async def post_mortem(self, key: str | None) -> Diagnosis | None:
        return self.diagnosis

    async def changed(self) -> None:
        await self._changed.wait()

    async def close(self) -> None:
        self.verbs.append("close")

    def become(self, *states: EngineState) -> None:
        for state in states:
            self.state = state
            self._changed.set()
            self._changed = asyncio.Event()
            self._scheduler.changed(self)  # type: ignore[arg-type]


class LivelyEngine(ObedientEngine):
    """Does what it is told, in `load` and `stop` seconds; a start fails while `fails` says so."""

    load = 1.0
    stop_seconds = 0.5

    def __init__(self, alias: str, scheduler: Scheduler, fails: Callable[[], bool] = lambda: False) -> None:
        super().__init__(alias, scheduler, EngineState.STOPPED)
        self.fails = fails
        self.loads = self.failures = 0
        self.has_been_up = False

    def __getattr__(self, verb: str) -> Any:
        if verb not in _VERBS:
            raise AttributeError(verb)
        return lambda: asyncio.get_running_loop().call_soon(self._take_up, verb)

    def _take_up(self, verb: str) -> None:
        match verb, self.state:
            case "start", EngineState.STOPPED:
                self.loads += 1
                self.become(EngineState.STARTING)
                self._later(self.load, self._loaded)
            case "drain", EngineState.READY:
                self.become(EngineState.DRAINING)
            case "drained", EngineState.DRAINING:
                self._end()
            case (("stop" | "hurry"), (EngineState.READY | EngineState.DRAINING | EngineState.STARTING)):
                self._end()
            case (("retry" | "stop"), EngineState.BACKOFF) | ("reset", EngineState.FATAL):
                self.become(EngineState.STOPPED)

    def _end(self) -> None:
        self.become(EngineState.STOPPING)
        self._later(self.stop_seconds, lambda: self._if(EngineState.STOPPING, EngineState.STOPPED))

    def _loaded(self) -> None:
        if self.state is not EngineState.STARTING:
            return
        if not self.fails():
            self.failures, self.has_been_up = 0, True
            self.become(EngineState.READY)
            return
        # As a real one: a wait for it ends, since one that goes on failing is soon no short wait
        self.failures += 1
        delay = 2.0**self.failures
        self.diagnosis = Diagnosis("killed", "It was killed.", "Look.", permanent=False)
        self.retry_at, self.retry_after = now() + delay, delay
        self.become(EngineState.BACKOFF)
        self._later(delay, lambda: self._if(EngineState.BACKOFF, EngineState.STOPPED))

    def _if(self, before: EngineState, after: EngineState) -> None:
        if self.state is before:
            self.become(after)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, act)


def made(
    max_loaded: int = 1, queue_timeout: float = 60.0, **states: EngineState
) -> tuple[Scheduler, list[ObedientEngine]]:
    """Engines in these states, in their order."""
    engines: list[ObedientEngine] = []

    def make(ref: ModelRef) -> Any:
        engines.append(ObedientEngine(ref.alias, scheduler, states[ref.alias]))
        return engines[-1]

    scheduler = Scheduler(make, max_loaded=max_loaded, queue_timeout=queue_timeout)
    for alias in states:
        scheduler.use(ref_to(alias))
    return scheduler, engines


def lively(
    residencies: dict[str, Residency], *, max_loaded: int = 1, queue_timeout: float = 600.0, **limits: Any
) -> tuple[Scheduler, dict[str, LivelyEngine]]:
    """Engines that act by themselves, all stopped."""
    engines: dict[str, LivelyEngine] = {}

    def make(ref: ModelRef) -> Any:
        engines[ref.alias] = LivelyEngine(ref.alias, scheduler)
        return engines[ref.alias]

    scheduler = Scheduler(
        make, max_loaded=max_loaded, queue_timeout=queue_timeout, residency=lambda ref: residencies[ref.alias], **limits
    )
    for alias in residencies:
        scheduler.use(ref_to(alias))
    return scheduler, engines


async def asking(scheduler: Scheduler, *aliases: str) -> list[asyncio.Task[Lease]]:
    """One request for each, as far as they come by themselves."""
    tasks = [asyncio.create_task(scheduler.lease(ref_to(alias))) for alias in aliases]
    await turn()
    return tasks


async def asked(scheduler: Scheduler, alias: str, seconds: float, **ticket: Any) -> float:
    """A request that takes so long to answer; the moment of its lease."""
    lease = await scheduler.lease(ref_to(alias), ticket=Ticket(**ticket))
    began = now()
    try:
        await asyncio.sleep(seconds)
    finally:
        lease.release()
    return began


async def turn() -> None:
    """Everybody who can go on does; no timer fires."""
    for _ in range(10):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()
