"""Carries out `policy.decide`: sends engines their verbs, and tells the queue whose turn it is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from app.errors import InsufficientMemoryError, NoRoomError, TandemError
from app.scheduler.decisions import WAITS, Decisions
from app.scheduler.engine_use import EngineUse
from app.scheduler.line import WaitingLine
from app.scheduler.memory_book import MemoryBook
from app.scheduler.misfits import Misfits
from app.scheduler.policy import decide_and_tell, next_look
from app.scheduler.refusals import SchedulerLimits, refusal_of
from app.scheduler.room import Room
from app.scheduler.snapshot import (
    Action,
    Blocked,
    Drain,
    EngineTable,
    EngineView,
    Grant,
    NoMemory,
    NoRoom,
    Refuse,
    Retry,
    SchedulerSnapshot,
    Start,
)
from app.supervisor.process import Engine
from app.supervisor.states import OCCUPYING, EngineState


class Placement:
    """Which engines are up. `serve` grants a READY engine to those who wait for it, `refuse` sends them away."""

    def __init__(
        self,
        limits: SchedulerLimits,
        *,
        serve: Callable[[EngineUse], None],
        refuse: Callable[[EngineUse, Callable[[], TandemError]], None],
        memory: MemoryBook | None = None,
    ) -> None:
        self.limits = limits
        self.uses: dict[str, EngineUse] = {}
        self.decisions = Decisions()
        self.misfits = Misfits()
        self.memory = memory
        self._serve = serve
        self._refuse = refuse
        # What the policy is told, of engines that are not stopped or that somebody waits for; and what of it may be
        # out of date. A decision costs what has changed since the last one, and little for all the rest.
        self._views = EngineTable()
        self._waits = WaitingLine()
        self._changed: dict[str, EngineUse] = {}
        # Why those who wait do, as it was last told
        self._told: dict[str, Blocked] = {}
        self._timer: asyncio.TimerHandle | None = None

    def concern(self, use: EngineUse) -> None:
        """Something about it has changed that the policy must know."""
        self._changed[use.alias] = use

    def pump(self) -> None:
        """Decides and acts; to be called after whatever may change a decision."""
        loop = asyncio.get_running_loop()
        snapshot = self._snapshot(loop.time())
        actions, blocked = decide_and_tell(snapshot)
        for action in actions:
            self._act(action)
        self._tell(blocked)
        self._wake_at(next_look(snapshot))

    def look_at(self, moment: float) -> None:
        """Decides again then, if not before."""
        if self._timer is None or moment < self._timer.when():
            self._wake_at(moment)

    def close(self) -> None:
        """Decides no more by the clock."""
        self._wake_at(math.inf)

    def moved(self, engine: Engine) -> None:
        """After a transition: what it tells of this engine and of others."""
        use = self.uses[engine.alias]
        now = asyncio.get_running_loop().time()
        use.moved(now)
        self.concern(use)
        match engine.state:
            case EngineState.READY:
                self.misfits.came_up(engine.alias, self._up_beside(engine.alias))
            case EngineState.DRAINING if use.in_flight == 0:
                engine.drained()
            case EngineState.STOPPED:
                self.misfits.gone(engine.alias)
            case EngineState.BACKOFF | EngineState.FATAL if engine.diagnosis is not None:
                beside, room = self._up_beside(engine.alias), {} if self.memory is None else self.memory.budgets()
                self.misfits.failed(engine.alias, engine.diagnosis.code, beside, room, now)

    def forget(self, use: EngineUse) -> None:
        """Its model is gone, and so is its engine: nobody waits for it."""
        for known in (self.uses, self._changed, self._told):
            known.pop(use.alias, None)
        self._views.drop(use.alias)
        self._waits.drop(use.alias)
        self.misfits.forget(use.alias)

    def fits_now(self, use: EngineUse) -> bool:
        """Whether there is a place for it, and memory, that is nobody's."""
        room, engine = Room(self._snapshot(asyncio.get_running_loop().time())), self._view(use)
        return not room.in_the_way(engine)[0] and not room.short(engine) and not room.loading_beside(engine)

    def beyond_limits(self, aliases: Iterable[str]) -> list[str]:
        """Of engines that are up, those too many for `max_loaded` or the budgets; the first ones stay."""
        nothing = replace(self._snapshot(asyncio.get_running_loop().time()), engines=())
        room, beyond = Room(nothing), []
        for alias in aliases:
            engine = self._view(self.uses[alias])
            if room.free > 0 and not room.short(engine):
                room.take(engine)
            else:
                beyond.append(alias)
        return beyond

    def drain(self, use: EngineUse, verb: str, why: str) -> None:
        """A READY engine gets no new requests, and ends after those that it has."""
        self.decisions.add(use.alias, verb, why)
        self.head_for(use, EngineState.DRAINING, f"{verb}: {why}")
        use.engine.drain()

    def retry(self, use: EngineUse, why: str) -> None:
        """Ends a BACKOFF: it is about to be STOPPED."""
        self.head_for(use, EngineState.STOPPING, why)
        use.engine.retry()

    def head_for(self, use: EngineUse, state: EngineState, why: str) -> None:
        """A verb is sent that leads there."""
        use.heading, use.reason = state, why
        self.concern(use)

    def _wake_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # A hair later than the moment itself: a timer may fire early by the clock's resolution.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(moment + 0.001, self._woken) if moment < math.inf else None

    def _woken(self) -> None:
        self._timer = None
        self.pump()

    def _snapshot(self, now: float) -> SchedulerSnapshot:
        for alias in self.misfits.short:
            self.concern(self.uses[alias])
        for alias in () if self.memory is None else self.memory.renewed():
            if alias in self.uses:
                self.concern(self.uses[alias])
        for use in self._changed.values():
            self._look_anew(use)
        self._changed.clear()
        return SchedulerSnapshot(
            now=now,
            max_loaded=self.limits.max_loaded,
            engines=self._views,
            waiting=self._waits,
            misfits=frozenset(self.misfits.known),
            max_wait=self.limits.max_wait,
            budgets={} if self.memory is None else self.memory.budgets(),
        )

    def _look_anew(self, use: EngineUse) -> None:
        alias, wait = use.alias, use.wait()
        if wait is None:
            self._waits.drop(alias)
            self._told.pop(alias, None)
        else:
            self._waits.put(wait)
        if wait is None and use.state is EngineState.STOPPED:
            self._views.drop(alias)
        else:
            self._views.put(self._view(use))

    def _tell(self, blocked: Iterable[Blocked]) -> None:
        """Each reason once."""
        for wait in blocked:
            if self._told.get(wait.alias) != wait:
                self._told[wait.alias] = wait
                self.decisions.add(wait.alias, WAITS, wait.why)

    def _view(self, use: EngineUse) -> EngineView:
        misfits = self.misfits
        return use.view(
            wants_memory=misfits.wants_memory(use.alias),
            room_made=misfits.room_made(use.alias),
            needs={} if self.memory is None else self.memory.needs(use.alias),
            mapped=0 if self.memory is None else self.memory.mapped(use.alias),
        )

    def _up_beside(self, alias: str) -> set[str]:
        return {other for other, use in self.uses.items() if other != alias and use.state in OCCUPYING}

    def _act(self, action: Action) -> None:
        use = self.uses[action.alias]
        match action:
            case Grant():
                self._serve(use)
            case Refuse():
                self._refuse(use, lambda: refusal_of(use.engine))
            case NoRoom(alias, why):
                self.decisions.add(alias, "refused", why)
                self._refuse(use, lambda: NoRoomError(alias, why))
            case NoMemory(alias, why):
                self.decisions.add(alias, "refused", why)
                self._refuse(use, lambda: InsufficientMemoryError(alias, f"{why}, even with nothing beside it.", {}))
            case Start(alias, why, inputs):
                self.decisions.add(alias, "started", f"{why}; {inputs}" if inputs else why)
                self.head_for(use, EngineState.STARTING, why)
                use.engine.start()
            case Retry(alias):
                self.decisions.add(alias, "retried", "an engine whose memory it wants has gone")
                self.retry(use, "tried again with more memory")
            case Drain(alias, room_for, why):
                self.misfits.drained(alias, room_for)
                self.drain(use, "evicted" if room_for else "unloaded", why)
