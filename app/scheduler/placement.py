"""Carries out `policy.decide`: sends verbs to engines, and grants or refuses waiting requests."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from app.engine.footprint.footprint import HOST
from app.errors import Diagnosis, InsufficientMemoryError, NoNodeError, NoRoomError, TandemError
from app.scheduler.decisions import WAITS, Decisions
from app.scheduler.engine_use import EngineUse
from app.scheduler.eviction import Eviction
from app.scheduler.host_choice import HostChoice
from app.scheduler.line import WaitingLine
from app.scheduler.memory_book import EngineMemory
from app.scheduler.misfits import Misfits
from app.scheduler.node_places import NodePlaces, node_place
from app.scheduler.policy import decide_with_reasons, next_look
from app.scheduler.refusals import SchedulerLimits, refusal_of
from app.scheduler.room import UNCAPPED, Room
from app.scheduler.snapshot import (
    Action,
    Blocked,
    Drain,
    EngineTable,
    EngineView,
    Grant,
    NoHost,
    NoMemory,
    NoRoom,
    Refuse,
    Retry,
    SchedulerSnapshot,
    Start,
)
from app.supervisor.memory_truth import ran_out_of
from app.supervisor.process import Engine
from app.supervisor.states import OCCUPYING, EngineState

_DOWN = (EngineState.STOPPED, EngineState.BACKOFF, EngineState.FATAL)


class Placement:
    """The engines that are up. `serve` grants a READY engine to its waiters, `refuse` refuses them."""

    def __init__(
        self,
        limits: SchedulerLimits,
        *,
        serve: Callable[[EngineUse], None],
        refuse: Callable[[EngineUse, Callable[[], TandemError]], None],
        memory: EngineMemory | None = None,
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
        if engine.state in _DOWN:
            if engine.state is EngineState.FATAL and engine.diagnosis is not None:
                self._nodes.failed(engine.alias, engine.diagnosis.cause)
            self._nodes.ended(engine.alias, stopped=engine.state is EngineState.STOPPED)
        match engine.state:
            case EngineState.READY:
                self._nodes.try_again(engine.alias)
                self.misfits.came_up(engine.alias, self._up_beside(engine.alias))
            case EngineState.DRAINING if use.in_flight == 0:
                engine.drained()
            case EngineState.STOPPED:
                self.misfits.gone(engine.alias)
            case EngineState.BACKOFF | EngineState.FATAL if engine.diagnosis is not None:
                beside = self._in_its_way(engine.alias, engine.diagnosis)
                room = {} if self.memory is None else self.memory.budgets()
                self.misfits.failed(engine.alias, engine.diagnosis.code, beside, room, now)

    def forget_failures(self, alias: str) -> None:
        """The next start of `alias` counts as its first."""
        self.misfits.forget(alias)
        self._nodes.try_again(alias)

    def forget(self, use: EngineUse) -> None:
        """Removes an alias whose model and engine are gone and that has no waiters."""
        for known in (self.uses, self._changed, self._reported):
            known.pop(use.alias, None)
        self._views.drop(use.alias)
        self._waits.drop(use.alias)
        self.misfits.forget(use.alias)
        self._nodes.forget(use.alias)

    def start_if_it_fits(self, use: EngineUse, why: str) -> None:
        """Starts it if a place and memory are free, without unloading another engine."""
        snapshot, engine = self._snapshot(asyncio.get_running_loop().time()), self._view(use)
        room = Room(snapshot)
        if snapshot.hosts:
            if (there := HostChoice(snapshot, room, Eviction(snapshot, WaitingLine())).with_room(engine)) is not None:
                self.start(use, why, there.node)
        elif not room.in_the_way(engine)[0] and not room.short(engine) and not room.loading_beside(engine):
            self.start(use, why)

    def start(self, use: EngineUse, why: str, host: str = "", inputs: str = "") -> None:
        """Starts an engine, on `host` if there are several machines."""
        self.decisions.add(use.alias, "started", f"{why}; {inputs}" if inputs else why)
        self.head_for(use, EngineState.STARTING, why)
        if not host:
            use.engine.start()
            return
        self._nodes.starts_on(use.alias, host)
        use.engine.start(host)

    def hold_together(self, aliases: Iterable[str]) -> bool:
        """Whether memory holds these engines beside each other. A single one may exceed it with mapped files."""
        names = list(aliases)
        nothing = replace(self._snapshot(asyncio.get_running_loop().time()), engines=())
        room, placed = Room(nothing), nothing.hosts
        choice = HostChoice(nothing, room, Eviction(nothing, WaitingLine()))
        for alias in names:
            engine: EngineView | None = self._view(self.uses[alias])
            engine = choice.with_room(engine) if placed and engine is not None else engine
            if engine is None or (len(names) > 1 and room.short(engine)):
                return len(names) == 1
            room.take(engine, loads=False)
        return True

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
            max_loaded=self.places,
            engines=self._views,
            waiting=self._waits,
            misfits=frozenset(self.misfits.known),
            max_wait=self.limits.max_wait,
            budgets=({} if self.memory is None else self.memory.budgets()) | self._nodes.budgets(),
            hosts=self._nodes.hosts,
        )

    @property
    def places(self) -> int:
        """The number of engines that may be up. With several machines each has its own limit."""
        return UNCAPPED if self._nodes.hosts else self.limits.max_loaded

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
        hosts, memory = self._nodes.of(use.alias), self.memory
        somewhere = not self._nodes.hosts or use.state is not EngineState.STOPPED
        needs = memory.needs(use.alias) if memory is not None and somewhere else {}
        return use.view(
            wants_memory=self.misfits.wants_memory(use.alias),
            room_made=self.misfits.room_made(use.alias),
            needs={node_place(hosts.node): 1, **needs} if hosts.node and somewhere else needs,
            mapped=memory.mapped(use.alias) if memory is not None and somewhere else 0,
            hosts=hosts,
        )

    def _up_beside(self, alias: str) -> set[str]:
        """The other engines that are up on its machine."""
        node, nodes = self._nodes.node_of(alias), self._nodes
        up = (other for other, use in self.uses.items() if other != alias and use.state in OCCUPYING)
        return {other for other in up if nodes.node_of(other) == node}

    def _in_its_way(self, alias: str, diagnosis: Diagnosis) -> set[str]:
        """The engines beside a failed start: those that hold the memory that it lacked, if that is known."""
        beside = self._up_beside(alias)
        if self.memory is None:
            return beside
        places = ran_out_of(diagnosis, [name for name in self.memory.needs(alias) if name != HOST])
        holders = {other for other in beside if any(self.memory.needs(other).get(place) for place in places)}
        return holders or beside

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
            case NoHost(alias, why):
                self.decisions.add(alias, "refused", why)
                self._refuse(use, lambda: NoNodeError(alias, why))
            case Start(_, host, why, inputs):
                self.start(use, why, host, inputs)
            case Retry(alias):
                self.decisions.add(alias, "retried", "an engine whose memory it wants has gone")
                self.retry(use, "tried again with more memory")
            case Drain(alias, room_for, why):
                self.misfits.drained(alias, room_for)
                if room_for and (node := self._nodes.node_of(alias)):
                    self._nodes.makes_room(room_for, node)
                self.drain(use, "evicted" if room_for else "unloaded", why)
