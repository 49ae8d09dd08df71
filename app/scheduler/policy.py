"""Who gets a place and who keeps one: a pure decision from a snapshot to actions. No clock, no I/O, no log.

For each alias that somebody waits for, the engine is

(1) READY: those who wait get its free slots;
(2) STARTING: they wait for that start, together;
(3) FATAL, or in BACKOFF: they are refused with the diagnosis. In a BACKOFF that is over in this moment they wait, and
    in one that is over soon of an engine that may come up: it has before, or somebody else has ended its start;
(4) in BACKOFF for want of memory that engines of ours hold: one of those makes room as in (7), and it is tried again;
(5) DRAINING or STOPPING: they wait until it is STOPPED;
(6) STOPPED, and there is room for it: it is started, after any other load onto one of its devices;
(7) STOPPED otherwise: an engine that is on its way out already will do; else one makes room (`_victim`), and where all
    that is in the way is pinned they are refused. Where memory is short as many make room as it takes, and where it
    would be short without any of them they are refused before one goes;

and without anybody who waits

(8) READY, idle, and past the end of its ttl: it is unloaded.

Aliases come in the order of `_in_order`. Who needs a place and finds none keeps those behind from taking one: nobody is
overtaken for ever. `Room` alone knows what fits. The memory of what is up never exceeds a budget by a start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Set

from app.scheduler.line import WaitingLine
from app.scheduler.reasons import free_for, kept_by, kind_of, names, seconds, shortage, sizes, use_of
from app.scheduler.room import Room
from app.scheduler.snapshot import (
    SHORT_BACKOFF_S,
    TOLD_AFTER_S,
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
    Wait,
)
from app.supervisor.states import EngineState

# An attribute of an enum costs more than all else that is done for one of a thousand waits.
_STOPPED, _READY = EngineState.STOPPED, EngineState.READY
# Of what is told of those that keep their place
_SHOWN = 4
# Of those who go on waiting
_TOLD = 16


def decide(snapshot: SchedulerSnapshot) -> list[Action]:
    """The actions for now; called again after whatever they change."""
    return decide_and_tell(snapshot)[0]


def decide_and_tell(snapshot: SchedulerSnapshot) -> tuple[list[Action], list[Blocked]]:
    """The actions for now, and why the first ones of those who go on waiting do."""
    decision = _Decision(snapshot)
    return decision.actions(), decision.blocked


def next_look(snapshot: SchedulerSnapshot) -> float:
    """When time alone may change the decision: the end of a ttl, of a patience or of a minimum residency."""
    now, line = snapshot.now, WaitingLine.of(snapshot.waiting)
    ready = [engine for engine in EngineTable.of(snapshot.engines).running.values() if engine.state is _READY]
    moments = [engine.unload_at for engine in ready]
    if line:
        moments += [engine.ready_at + snapshot.residency(engine) for engine in ready]
        moments += [
            limit + line.since_after(now - limit) for limit in (TOLD_AFTER_S, snapshot.patience, snapshot.max_wait)
        ]
    return min((moment for moment in moments if moment > now), default=math.inf)


class _Decision:
    """One pass over the waits; what was decided for one counts for the next."""

    def __init__(self, snapshot: SchedulerSnapshot) -> None:
        self._snapshot = snapshot
        self._engines = EngineTable.of(snapshot.engines)
        self._waits = WaitingLine.of(snapshot.waiting)
        self._room = Room(snapshot)
        self._drained: set[str] = set()
        # Who needs a place and has to wait for one: those behind may not take it
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
            elif self._room.is_contended(engine):
                self._behind(wait, "")
            else:
                actions += self._started(engine, wait)
        actions += self._past_their_ttl()
        return actions

    def _worth_a_look(self) -> Iterator[Wait]:
        """In order. Once nobody can take a place any more, a few, and those whose engines are not STOPPED."""
        overdue = self._snapshot.now - self._snapshot.max_wait
        seen: set[str] = set()
        closed, behind = False, 0
        for wait in self._waits.in_order(overdue):
            yield wait
            seen.add(wait.alias)
            closed = closed or self._next is not None or self._all_contended()
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
                self._tell(wait, {engine.alias})
                return ()
            case _:  # (2)
                return ()

    def _with_more_memory(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        if engine.room_made:
            return (Retry(engine.alias),)
        if self._room.leaving:
            self._tell(wait, self._room.leaving)
            return ()
        if not any(not other.pinned for other in self._room.up.values()):
            return (Refuse(engine.alias),)
        # Who holds what it ran out of, where that is known
        short = self._room.short(engine)
        return self._make_room(wait, self._room.holders(short) or set(self._room.up), short)

    def _started(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        room = self._room
        if lacking := room.short_alone(engine):
            return (NoMemory(engine.alias, shortage(lacking)),)
        obstacles, all_of_them = room.in_the_way(engine)
        if not obstacles:
            return self._beside_others(engine, wait)
        if held := _held(room, obstacles, all_of_them):
            return (NoRoom(engine.alias, f"{names(held)} in its way, and pinned"),)
        if all_of_them:
            self._next = engine.alias
            return list(self._clear(wait, obstacles))
        if leaving := room.leaving & obstacles:  # (7) cleared already
            self._tell(wait, leaving)
            room.leaving.discard(min(leaving))
            return ()
        actions = self._make_room(wait, obstacles)
        if not actions and room.free <= 0:
            self._next = engine.alias
        return actions

    def _beside_others(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        """There is a place for it; is there memory?"""
        room = self._room
        if short := room.short(engine):
            return self._with_room_in_memory(engine, wait, short)
        if busy_devices := room.loading_beside(engine):  # (6)
            self._tell(wait, {alias for alias in room.holders(busy_devices) if room.up[alias].state is not _READY})
            room.promise(engine)
            room.contended |= busy_devices
            return ()
        inputs = free_for(engine, room)
        room.take(engine)
        return (Start(engine.alias, "somebody waits for it", inputs),)

    def _with_room_in_memory(self, engine: EngineView, wait: Wait, short: dict[str, int]) -> Iterable[Action]:
        """(7) Those that hold what is short, until what is left of them is enough."""
        room = self._room
        pinned = {alias for alias, other in room.up.items() if other.pinned and other.state is _READY}
        if room.short(engine, without=room.up.keys() - pinned, promises=False):
            return (NoRoom(engine.alias, f"{names(pinned & room.holders(short))} in its way, and pinned"),)
        actions: list[Action] = []
        # Behind another load onto its device nobody has to go yet: whoever is idle may be asked for again until then
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
        """Those without whose memory it fits as well stay: a small one may have been chosen before a large one."""
        for drain in drains[::-1]:
            kept = self._drained - {drain.alias}
            if not self._room.short(engine, without=self._room.leaving | kept):
                self._drained = kept
                drains.remove(drain)

    def _clear(self, wait: Wait, obstacles: set[str]) -> Iterator[Action]:
        """All of them, each as soon as it may go."""
        for _ in range(len(obstacles - self._room.leaving)):
            yield from self._make_room(wait, obstacles)

    def _make_room(self, wait: Wait, obstacles: set[str], memory: Iterable[str] = ()) -> list[Action]:
        """At most one of `obstacles` goes; `memory` are the places where it is what is short."""
        victim = self._victim(wait, obstacles, memory)
        if victim is None:
            self._tell(wait, obstacles - self._drained, memory)
            return []
        self._drained.add(victim.alias)
        return [Drain(victim.alias, wait.alias, self._why(victim, wait, obstacles, memory))]

    def _victim(self, wait: Wait, obstacles: set[str], short: Iterable[str]) -> EngineView | None:
        """Idle before busy, then the lowest priority, then the longest idle by what its load costs for what it frees of
        the places in memory that are `short`.

        Never a pinned one. One that has answered since the wait began keeps its minimum residency; a busy one, or one
        that somebody waits for, keeps its place for `patience` besides. What it has begun to answer it ends.
        """
        candidates = [
            engine
            for alias in obstacles - self._drained
            if (engine := self._room.up[alias]).state is EngineState.READY
            and not engine.pinned
            and self._may_go(engine, wait)
        ]
        return min(candidates, key=lambda engine: self._rank(engine, short), default=None)

    def _may_go(self, engine: EngineView, wait: Wait) -> bool:
        snapshot = self._snapshot
        resident = snapshot.now < engine.ready_at + snapshot.residency(engine)
        if self._busy(engine):
            return not resident and snapshot.now - wait.since >= snapshot.patience
        return not (resident and engine.last_used > wait.since)

    def _busy(self, engine: EngineView) -> bool:
        return engine.in_flight > 0 or engine.alias in self._waits

    def _rank(self, engine: EngineView, short: Iterable[str]) -> tuple[bool, int, float, str]:
        idle = self._snapshot.now - engine.last_used
        frees = sum(engine.needs.get(name, 0) for name in short) or 1
        return self._busy(engine), engine.priority, -idle * frees / max(engine.load_seconds, 0.05), engine.alias

    def _past_their_ttl(self) -> Iterator[Action]:  # (8)
        for engine in self._room.up.values():
            free_to_go = engine.state is EngineState.READY and not engine.pinned and not self._busy(engine)
            if free_to_go and engine.unload_at <= self._snapshot.now and engine.alias not in self._drained:
                yield Drain(engine.alias, "", f"{use_of(engine, self._snapshot.now)}, the end of its ttl")

    def _why(self, victim: EngineView, wait: Wait, obstacles: set[str], memory: Iterable[str]) -> str:
        """`idle 41 s, frees 5.20 GB on CUDA0; b has waited 0.2 s and needs 4.80 GB; c is pinned`"""
        now, waiting = self._snapshot.now, self._engines[wait.alias]
        freed, needed = sizes(victim, memory, "on"), sizes(waiting, memory, "on")
        goes = f"{use_of(victim, now)}, frees {freed}" if freed else use_of(victim, now)
        waited = (
            f"{wait.alias} has waited {seconds(now - wait.since)} {f'and needs {needed}' if needed else 'for a place'}"
        )
        others = sorted(obstacles - self._drained - self._room.leaving)[:_SHOWN]
        return "; ".join((goes, waited, *(f"{alias} is {use_of(self._room.up[alias], now)}" for alias in others)))

    def _tell(self, wait: Wait, obstacles: Set[str], memory: Iterable[str] = ()) -> None:
        """Why it goes on waiting: who is in its way, and why he stays."""
        if not self._is_news(wait):
            return
        engines = [self._engines[alias] for alias in sorted(obstacles)]
        reasons = frozenset((engine.alias, kind_of(engine)) for engine in engines)
        words = [f"{engine.alias} is {kept_by(engine, self._snapshot)}" for engine in engines[:_SHOWN]]
        if len(engines) > _SHOWN:
            words.append(f"and {len(engines) - _SHOWN} more")
        if needed := sizes(self._engines[wait.alias], memory, "on"):
            words.insert(0, f"it needs {needed}")
        self.blocked.append(Blocked(wait.alias, reasons, "; ".join(words)))

    def _behind(self, wait: Wait, first: str) -> None:
        if self._is_news(wait):
            why = f"{first or 'another'} waits for a place before it"
            self.blocked.append(Blocked(wait.alias, frozenset((("", "behind"),)), why))

    def _is_news(self, wait: Wait) -> bool:
        return len(self.blocked) < _TOLD and self._snapshot.now - wait.since >= TOLD_AFTER_S


def _held(room: Room, obstacles: set[str], all_of_them: bool) -> set[str]:
    """Those that no eviction moves, where they are enough to be in the way for ever."""
    pinned = {alias for alias in obstacles if room.up[alias].pinned and room.up[alias].state is EngineState.READY}
    return pinned if pinned and (all_of_them or pinned == obstacles) else set()


def _waited_for(engine: EngineView) -> float:
    """How many seconds of a BACKOFF are no reason to refuse."""
    return SHORT_BACKOFF_S if engine.may_come_up else 0.0
