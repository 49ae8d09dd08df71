"""Decides who gets a place and who keeps one: a pure function from a snapshot to actions. No clock, no I/O, no log.

For each alias with a waiting request, the engine is

(1) READY: the waiting requests get its free slots;
(2) STARTING: they all wait for that start;
(3) FATAL or in BACKOFF: they are refused with the diagnosis. They wait if the BACKOFF ends at this moment, or ends soon
    for an engine that may come up: it has before, or another program ended its start;
(4) in BACKOFF for want of memory that other engines of ours hold: one of them makes room as in (7), then it is retried;
(5) DRAINING or STOPPING: they wait until it is STOPPED;
(6) STOPPED with room: it is started, after any other load onto one of its devices. `HostChoice` chooses the machine if
    there are several;
(7) STOPPED without room: an engine that is leaving already is waited for. Otherwise one makes room (`Eviction`). If all
    obstacles are pinned, the requests are refused. If memory is short, as many engines leave as necessary. If memory
    would be short without any of them, the requests are refused and no engine leaves;

and without a waiting request

(8) READY, idle and past its ttl: it is unloaded.

Aliases are read in the order of `WaitingLine.in_order`. A request that needs a place and finds none keeps later ones
from taking one, so it is not overtaken for ever. Only `Room` knows what fits. A start never makes the running engines
exceed a budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Set

from app.scheduler.eviction import Eviction
from app.scheduler.host_choice import HostChoice
from app.scheduler.line import WaitingLine
from app.scheduler.node_places import node_place
from app.scheduler.reasons import free_for, kept_by, kind_of, names, seconds, shortage, sizes, use_of
from app.scheduler.room import Room
from app.scheduler.snapshot import (
    PAUSE_S,
    REASON_AFTER_S,
    SHORT_BACKOFF_S,
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
    Wait,
)
from app.supervisor.states import EngineState

# Module constants: reading an enum's attribute costs more than all other work for one of a thousand waits.
_STOPPED, _READY = EngineState.STOPPED, EngineState.READY
# Other engines may leave for these
_WANT_ROOM = (EngineState.STOPPED, EngineState.BACKOFF)
# Engines named in a reason
_SHOWN = 4
# Waiting requests with a reported reason
_TOLD = 16
# With several machines: engines that find no room before no later ones are looked at
_STUCK = 10
# The first of `HostChoice`'s cases in which engines leave
_ENGINES_LEAVE = 4


def decide(snapshot: SchedulerSnapshot) -> list[Action]:
    """Returns the actions for now; to be called again after their effects."""
    return decide_with_reasons(snapshot)[0]


def decide_with_reasons(snapshot: SchedulerSnapshot) -> tuple[list[Action], list[Blocked]]:
    """Returns the actions for now, and the reasons of the first requests that still wait."""
    decision = _Decision(snapshot)
    return decision.actions(), decision.blocked


def next_look(snapshot: SchedulerSnapshot) -> float:
    """The moment when time alone may change the decision: a ttl, a patience or a minimum residency ends."""
    now, line, engines = snapshot.now, WaitingLine.of(snapshot.waiting), EngineTable.of(snapshot.engines)
    ready = [engine for engine in engines.running.values() if engine.state is _READY]
    moments = [engine.unload_at for engine in ready]
    if line:
        moments += [
            limit + line.since_after(now - limit) for limit in (REASON_AFTER_S, snapshot.patience, snapshot.max_wait)
        ]
    if any(engines[wait.alias].state in _WANT_ROOM for wait in line):
        moments += [engine.ready_at + snapshot.residency(engine) for engine in ready]
        moments += [engine.last_used + PAUSE_S for engine in ready if not engine.pinned]
    return min((moment for moment in moments if moment > now), default=math.inf)


class _Decision:
    """One pass over the waits. Each decision counts for the following ones."""

    def __init__(self, snapshot: SchedulerSnapshot) -> None:
        self._snapshot = snapshot
        self._engines = EngineTable.of(snapshot.engines)
        self._waits = WaitingLine.of(snapshot.waiting)
        self._room = Room(snapshot)
        self._eviction = Eviction(snapshot, self._waits)
        self._choice = HostChoice(snapshot, self._room, self._eviction)
        # Waiting engines as they would run on the machines that were chosen for them
        self._placed: dict[str, EngineView] = {}
        self._drained: set[str] = set()
        # The alias that has to wait for a place; later ones may not take it
        self._next: str | None = None
        self.blocked: list[Blocked] = []

    def actions(self) -> list[Action]:
        actions: list[Action] = []
        for wait in self._worth_a_look():
            engine = self._engines[wait.alias]
            if engine.state is not _STOPPED:
                actions += self._of(engine, wait)
            elif self._next is not None:
                self._behind(wait, self._next)
            elif self._snapshot.hosts:
                actions += self._started_somewhere(engine, wait)
            elif self._room.is_contended(engine):
                self._behind(wait, "")
            else:
                actions += self._started(engine, wait)
        actions += self._past_their_ttl()
        return actions

    def _worth_a_look(self) -> Iterator[Wait]:
        """Yields waits in order. Once no place can be taken, a few more, and those whose engines are not STOPPED."""
        overdue = self._snapshot.now - self._snapshot.max_wait
        seen: set[str] = set()
        closed, behind = False, 0
        for wait in self._waits.in_order(overdue):
            yield wait
            seen.add(wait.alias)
            closed = closed or self._next is not None or self._all_contended() or len(self._placed) >= _STUCK
            behind += closed
            if behind > _TOLD:
                yield from self._waits.among(self._engines.running.keys() - seen, overdue)
                return

    def _all_contended(self) -> bool:
        contended = self._room.contended
        return bool(contended) and self._engines.all_need(contended)

    def _of(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        match engine.state:
            case EngineState.READY if engine.alias not in self._drained:  # (1)
                return (Grant(engine.alias),)
            case EngineState.BACKOFF if engine.wants_memory:  # (4)
                return self._with_more_memory(engine, wait)
            case EngineState.BACKOFF if engine.retry_at <= self._snapshot.now + _waited_for(engine):  # (3)
                return ()
            case EngineState.BACKOFF | EngineState.FATAL:  # (3)
                return (Refuse(engine.alias),)
            case EngineState.DRAINING | EngineState.STOPPING:  # (5)
                self._report(wait, {engine.alias})
                return ()
            case _:  # (2)
                return ()

    def _with_more_memory(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        if engine.room_made:
            return (Retry(engine.alias),)
        if self._room.leaving:
            self._report(wait, self._room.leaving)
            return ()
        beside = self._room.on(engine.node)
        if self._choice.with_room(engine) is not None:  # on another machine
            return (Retry(engine.alias),)
        if not any(not self._room.up[alias].pinned for alias in beside):
            return (Refuse(engine.alias),)
        # The engines that hold the missing memory, if they are known
        short = self._room.short(engine)
        return self._make_room(wait, self._room.holders(short) or set(beside), short)

    def _started_somewhere(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        """Starts it on the best machine, or makes room there."""
        placed = self._choice.placed(engine, wait)
        if (placed is None or placed.case >= _ENGINES_LEAVE) and (doubted := self._choice.in_doubt(engine)):
            self._tell(wait, "doubt", f"{doubted} has missed a beat")
            return ()
        if placed is None:
            return (NoHost(engine.alias, self._choice.why_none(engine)),)
        there = placed.view
        if self._room.is_contended(there):
            self._placed[engine.alias] = there
            self._behind(wait, "")
            return ()
        self._placed[engine.alias] = there
        actions = list(self._started(there, wait))
        if any(isinstance(action, Start) for action in actions):
            del self._placed[engine.alias]
        return actions

    def _started(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        room = self._room
        if lacking := room.short_alone(engine):
            return (NoMemory(engine.alias, shortage(lacking)),)
        obstacles, all_of_them = room.in_the_way(engine)
        if not obstacles:
            return self._beside_others(engine, wait)
        if held := _held(room, obstacles, all_of_them):
            return (NoRoom(engine.alias, f"{names(held)} pinned and in its way"),)
        if all_of_them:
            self._reserve(engine)
            return list(self._clear(wait, obstacles))
        if leaving := room.leaving & obstacles:  # (7) an engine is leaving already
            self._report(wait, leaving)
            room.leaving.discard(min(leaving))
            return ()
        actions = self._make_room(wait, obstacles)
        if not actions and room.free <= 0:
            self._reserve(engine)
        return actions

    def _reserve(self, engine: EngineView) -> None:
        """Keeps later requests from the place that it waits for."""
        if engine.node:
            self._room.contended.add(node_place(engine.node))
        else:
            self._next = engine.alias

    def _beside_others(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        """Starts an engine that has a place, once it has memory."""
        room = self._room
        if short := room.short(engine):
            return self._with_room_in_memory(engine, wait, short)
        if busy_devices := room.loading_beside(engine):  # (6)
            self._report(wait, {alias for alias in room.holders(busy_devices) if room.up[alias].state is not _READY})
            room.promise(engine)
            room.contended |= busy_devices
            return ()
        inputs = free_for(engine, room)
        room.take(engine)
        return (Start(engine.alias, engine.node, "a request waits for it", inputs),)

    def _with_room_in_memory(self, engine: EngineView, wait: Wait, short: dict[str, int]) -> Iterable[Action]:
        """(7) Drains engines that hold the missing memory, until the rest is enough."""
        room = self._room
        pinned = {alias for alias, other in room.up.items() if other.pinned and other.state is _READY}
        if room.short(engine, without=room.up.keys() - pinned, promises=False):
            return (NoRoom(engine.alias, f"{names(pinned & room.holders(short))} pinned and in its way"),)
        actions: list[Action] = []
        # While another engine loads onto its device, nothing is drained: an idle engine may get a request until then
        in_turn = room.awaited.isdisjoint(room.devices_of(engine))
        room.awaited |= room.devices_of(engine)
        while in_turn and (still := room.short(engine, without=room.leaving | self._drained)):
            more = self._make_room(wait, room.holders(still) - room.leaving, still.keys())
            if not more:
                room.contended |= still.keys()
                break
            actions += more
        else:
            self._spare(engine, actions)
        room.promise(engine)
        return actions

    def _spare(self, engine: EngineView, drains: list[Action]) -> None:
        """Keeps engines that need not leave after all: a small one may have been chosen before a large one."""
        for drain in drains[::-1]:
            drained = self._drained - {drain.alias}
            if not self._room.short(engine, without=self._room.leaving | drained):
                self._drained = drained
                drains.remove(drain)

    def _clear(self, wait: Wait, obstacles: set[str]) -> Iterator[Action]:
        """Drains all obstacles, each as soon as it may leave."""
        for _ in range(len(obstacles - self._room.leaving)):
            yield from self._make_room(wait, obstacles)

    def _make_room(self, wait: Wait, obstacles: set[str], memory: Iterable[str] = ()) -> list[Action]:
        """Drains at most one of `obstacles`; `memory` are the places where their memory is missing."""
        candidates = (self._room.up[alias] for alias in obstacles - self._drained)
        victim = self._eviction.victim(candidates, wait, memory)
        if victim is None:
            self._report(wait, obstacles - self._drained, memory)
            return []
        self._drained.add(victim.alias)
        return [Drain(victim.alias, wait.alias, self._why(victim, wait, obstacles, memory))]

    def _past_their_ttl(self) -> Iterator[Action]:  # (8)
        for engine in self._room.up.values():
            if engine.unload_at > self._snapshot.now or engine.state is not _READY or engine.pinned:
                continue
            if not self._eviction.is_busy(engine) and engine.alias not in self._drained:
                yield Drain(engine.alias, "", f"{use_of(engine, self._snapshot.now)}, the end of its ttl")

    def _why(self, victim: EngineView, wait: Wait, obstacles: set[str], memory: Iterable[str]) -> str:
        """`idle 41 s, frees 5.20 GiB on CUDA0; b has waited 0.2 s and needs 4.80 GiB; c is pinned`"""
        now, waiting = self._snapshot.now, self._placed.get(wait.alias) or self._engines[wait.alias]
        freed, needed = sizes(victim, memory, "on"), sizes(waiting, memory, "on")
        goes = f"{use_of(victim, now)}, frees {freed}" if freed else use_of(victim, now)
        waited = (
            f"{wait.alias} has waited {seconds(now - wait.since)} {f'and needs {needed}' if needed else 'for a place'}"
        )
        others = sorted(obstacles - self._drained - self._room.leaving)[:_SHOWN]
        return "; ".join((goes, waited, *(f"{alias} is {use_of(self._room.up[alias], now)}" for alias in others)))

    def _report(self, wait: Wait, obstacles: Set[str], memory: Iterable[str] = ()) -> None:
        """Reports why a request still waits: the engines in its way, and why they stay."""
        if not self._is_news(wait):
            return
        engines = [self._engines[alias] for alias in sorted(obstacles)]
        reasons = frozenset((engine.alias, kind_of(engine)) for engine in engines)
        words = [f"{engine.alias} is {kept_by(engine, self._snapshot)}" for engine in engines[:_SHOWN]]
        if len(engines) > _SHOWN:
            words.append(f"and {len(engines) - _SHOWN} more")
        if needed := sizes(self._placed.get(wait.alias) or self._engines[wait.alias], memory, "on"):
            words.insert(0, f"it needs {needed}")
        self.blocked.append(Blocked(wait.alias, reasons, "; ".join(words)))

    def _behind(self, wait: Wait, first: str) -> None:
        self._tell(wait, "behind", f"{first or 'another'} waits for a place before it")

    def _tell(self, wait: Wait, kind: str, why: str) -> None:
        if self._is_news(wait):
            self.blocked.append(Blocked(wait.alias, frozenset((("", kind),)), why))

    def _is_news(self, wait: Wait) -> bool:
        return len(self.blocked) < _TOLD and self._snapshot.now - wait.since >= REASON_AFTER_S


def _held(room: Room, obstacles: set[str], all_of_them: bool) -> set[str]:
    """The pinned engines that block a start for ever; empty if others could leave instead."""
    pinned = {alias for alias in obstacles if room.up[alias].pinned and room.up[alias].state is EngineState.READY}
    return pinned if pinned and (all_of_them or pinned == obstacles) else set()


def _waited_for(engine: EngineView) -> float:
    """The seconds of a remaining BACKOFF that a request waits for instead of being refused."""
    return SHORT_BACKOFF_S if engine.may_come_up else 0.0
