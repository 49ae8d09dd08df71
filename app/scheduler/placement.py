"""Carries out `policy.decide`: sends verbs to engines, and grants or refuses waiting requests."""

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
from app.scheduler.node_places import NodePlaces
from app.scheduler.policy import decide_with_reasons, next_look
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
    """The engines that are up. `serve` grants a READY engine to its waiters, `refuse` refuses them."""

    def __init__(
        self,
        limits: SchedulerLimits,
        *,
        serve: Callable[[EngineUse], None],
        refuse: Callable[[EngineUse, Callable[[], TandemError]], None],
        memory: MemoryBook | None = None,
        nodes: NodePlaces | None = None,
    ) -> None:
        self.limits = limits
        self.uses: dict[str, EngineUse] = {}
        self.decisions = Decisions()
        self.misfits = Misfits()
        self.memory = memory
        self._nodes = nodes or NodePlaces()
        self._serve = serve
        self._refuse = refuse
        # The policy's view: engines that are not STOPPED or have waiters. `_changed` are the entries to renew, so a
        # decision costs what has changed since the last one.
        self._views = EngineTable()
        self._waits = WaitingLine()
        self._changed: dict[str, EngineUse] = {}
        # The reason last reported for each waiting alias
        self._reported: dict[str, Blocked] = {}
        self._timer: asyncio.TimerHandle | None = None

    def concern(self, use: EngineUse) -> None:
        """Marks a use as changed, for the next decision."""
        self._changed[use.alias] = use

    def pump(self) -> None:
        """Decides and acts; to be called after each event that may change a decision."""
        loop = asyncio.get_running_loop()
        snapshot = self._snapshot(loop.time())
        actions, blocked = decide_with_reasons(snapshot)
        for action in actions:
            self._act(action)
        self._report(blocked)
        self._wake_at(next_look(snapshot))

    def look_at(self, moment: float) -> None:
        """Schedules the next decision at `moment`, unless an earlier one is scheduled."""
        if self._timer is None or moment < self._timer.when():
            self._wake_at(moment)

    def close(self) -> None:
        """Cancels the scheduled decision."""
        self._wake_at(math.inf)

    def moved(self, engine: Engine) -> None:
        """Records a transition of an engine, and its effect on others."""
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
        """Removes an alias whose model and engine are gone and that has no waiters."""
        for known in (self.uses, self._changed, self._reported):
            known.pop(use.alias, None)
        self._views.drop(use.alias)
        self._waits.drop(use.alias)
        self.misfits.forget(use.alias)

    def fits_now(self, use: EngineUse) -> bool:
        """Whether a place and memory are free for it, without unloading another engine."""
        room, engine = Room(self._snapshot(asyncio.get_running_loop().time())), self._view(use)
        return not room.in_the_way(engine)[0] and not room.short(engine) and not room.loading_beside(engine)

    def beyond_limits(self, aliases: Iterable[str]) -> list[str]:
        """Returns the engines that exceed `max_loaded` or the budgets, counted in the given order."""
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
        """Drains a READY engine: it gets no new requests, and ends after its running ones."""
        self.decisions.add(use.alias, verb, why)
        self.head_for(use, EngineState.DRAINING, f"{verb}: {why}")
        use.engine.drain()

    def retry(self, use: EngineUse, why: str) -> None:
        """Ends a BACKOFF: the engine becomes STOPPED."""
        self.head_for(use, EngineState.STOPPING, why)
        use.engine.retry()

    def head_for(self, use: EngineUse, state: EngineState, why: str) -> None:
        """Records the state that a verb leads to, before it is sent."""
        use.heading, use.reason = state, why
        self.concern(use)

    def _wake_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # A millisecond later than the moment: a timer may fire early by the clock's resolution.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(moment + 0.001, self._woken) if moment < math.inf else None

    def _woken(self) -> None:
        self._timer = None
        self.pump()

    def _snapshot(self, now: float) -> SchedulerSnapshot:
        for alias in self.misfits.short:
            self.concern(self.uses[alias])
        for alias in (set() if self.memory is None else self.memory.renewed()) | self._nodes.renewed():
            if alias in self.uses:
                self.concern(self.uses[alias])
        for use in self._changed.values():
            self._renew_view(use)
        self._changed.clear()
        return SchedulerSnapshot(
            now=now,
            max_loaded=self.limits.max_loaded,
            engines=self._views,
            waiting=self._waits,
            misfits=frozenset(self.misfits.known),
            max_wait=self.limits.max_wait,
            budgets=({} if self.memory is None else self.memory.budgets()) | self._nodes.budgets(),
        )

    def _renew_view(self, use: EngineUse) -> None:
        alias, wait = use.alias, use.wait()
        if wait is None:
            self._waits.drop(alias)
            self._reported.pop(alias, None)
        else:
            self._waits.put(wait)
        if wait is None and use.state is EngineState.STOPPED:
            self._views.drop(alias)
        else:
            self._views.put(self._view(use))

    def _report(self, blocked: Iterable[Blocked]) -> None:
        """Reports each reason once."""
        for wait in blocked:
            if self._reported.get(wait.alias) != wait:
                self._reported[wait.alias] = wait
                self.decisions.add(wait.alias, WAITS, wait.why)

    def _view(self, use: EngineUse) -> EngineView:
        misfits = self.misfits
        return use.view(
            wants_memory=misfits.wants_memory(use.alias),
            room_made=misfits.room_made(use.alias),
            needs=self._nodes.needs(use.alias) or ({} if self.memory is None else self.memory.needs(use.alias)),
            mapped=0 if self.memory is None else self.memory.mapped(use.alias),
            node=self._nodes.node_of(use.alias),
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
                figures = {} if self.memory is None else self.memory.figures(alias)
                words = f"{why}, even with no other engine loaded."
                self._refuse(use, lambda: InsufficientMemoryError(alias, words, figures))
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
