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
from collections.abc import Iterable, Iterator
from operator import itemgetter

from app.scheduler.room import UNCAPPED, Room
from app.scheduler.snapshot import (
    SHORT_BACKOFF_S,
    Action,
    Drain,
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
from app.terminal import size_in_words

# An attribute of an enum costs more than all else that is done for one of a thousand waits.
_STOPPED, _READY = EngineState.STOPPED, EngineState.READY
# Of what is told of those that keep their place
_SHOWN = 4


def decide(snapshot: SchedulerSnapshot) -> list[Action]:
    """The actions for now; called again after whatever they change."""
    return _Decision(snapshot).actions()


def next_look(snapshot: SchedulerSnapshot) -> float:
    """When time alone may change the decision: the end of a ttl, of a patience or of a minimum residency."""
    now = snapshot.now
    ready = [engine for engine in snapshot.engines if engine.state is _READY]
    moments = [engine.unload_at for engine in ready]
    if snapshot.waiting:
        moments += [engine.ready_at + snapshot.residency(engine) for engine in ready]
        for limit in (snapshot.patience, snapshot.max_wait):
            begun = now - limit
            moments.append(limit + min([since for _, since, _ in snapshot.waiting if since > begun], default=math.inf))
    return min((moment for moment in moments if moment > now), default=math.inf)


class _Decision:
    """One pass over the waits; what was decided for one counts for the next."""

    def __init__(self, snapshot: SchedulerSnapshot) -> None:
        self._snapshot = snapshot
        self._engines = {engine.alias: engine for engine in snapshot.engines}
        self._waits = _in_order(snapshot)
        self._room = Room(snapshot)
        self._drained: set[str] = set()
        # Who needs a place and has to wait for one: those behind may not take it
        self._next: str | None = None

    def actions(self) -> list[Action]:
        actions: list[Action] = []
        engines = self._engines
        for alias, wait in self._waits.items():
            engine = engines[alias]
            # The common case in a long queue
            if engine.state is not _STOPPED or (self._next is None and not self._room.is_contended(engine)):
                actions += self._of(engine, wait)
        actions += self._past_their_ttl()
        return actions

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
            case EngineState.STOPPED:
                return self._started(engine, wait)
            case _:  # (2), (5)
                return ()

    def _with_more_memory(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        if engine.room_made:
            return (Retry(engine.alias),)
        if self._room.leaving:
            return ()
        if not any(not other.pinned for other in self._room.up.values()):
            return (Refuse(engine.alias),)
        return self._make_room(wait, set(self._room.up))

    def _started(self, engine: EngineView, wait: Wait) -> Iterable[Action]:
        room = self._room
        if lacking := room.short_alone(engine):
            return (NoMemory(engine.alias, _shortage(lacking)),)
        obstacles, all_of_them = room.in_the_way(engine)
        if not obstacles:
            return self._beside_others(engine, wait)
        if held := _held(room, obstacles, all_of_them):
            return (NoRoom(engine.alias, f"{_names(held)} in its way, and pinned"),)
        if all_of_them:
            self._next = engine.alias
            return list(self._clear(wait, obstacles))
        if leaving := room.leaving & obstacles:  # (7) cleared already
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
            room.promise(engine)
            room.contended |= busy_devices
            return ()
        why = "somebody waits for it"
        if room.places < UNCAPPED:
            why += f"; {room.free} of {room.places} places free"
        room.take(engine)
        return (Start(engine.alias, why),)

    def _with_room_in_memory(self, engine: EngineView, wait: Wait, short: dict[str, int]) -> Iterable[Action]:
        """(7) Those that hold what is short, until what is left of them is enough."""
        room = self._room
        pinned = {alias for alias, other in room.up.items() if other.pinned and other.state is _READY}
        if room.short(engine, without=room.up.keys() - pinned, promises=False):
            return (NoRoom(engine.alias, f"{_names(pinned & room.holders(short))} in its way, and pinned"),)
        actions: list[Action] = []
        while still := room.short(engine, without=room.leaving | self._drained):
            more = self._make_room(wait, room.holders(still) - room.leaving)
            if not more:
                room.contended |= still.keys()
                break
            actions += more
        room.promise(engine)
        return actions

    def _clear(self, wait: Wait, obstacles: set[str]) -> Iterator[Action]:
        """All of them, each as soon as it may go."""
        for _ in range(len(obstacles - self._room.leaving)):
            yield from self._make_room(wait, obstacles)

    def _make_room(self, wait: Wait, obstacles: set[str]) -> list[Action]:
        victim = self._victim(wait, obstacles)
        if victim is None:
            return []
        self._drained.add(victim.alias)
        return [Drain(victim.alias, wait.alias, self._why(victim, wait, obstacles))]

    def _victim(self, wait: Wait, obstacles: set[str]) -> EngineView | None:
        """Idle before busy, then the lowest priority, then the longest idle by what its load costs.

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
        return min(candidates, key=self._rank, default=None)

    def _may_go(self, engine: EngineView, wait: Wait) -> bool:
        snapshot = self._snapshot
        resident = snapshot.now < engine.ready_at + snapshot.residency(engine)
        if self._busy(engine):
            return not resident and snapshot.now - wait.since >= snapshot.patience
        return not (resident and engine.last_used > wait.since)

    def _busy(self, engine: EngineView) -> bool:
        return engine.in_flight > 0 or engine.alias in self._waits

    def _rank(self, engine: EngineView) -> tuple[bool, int, float, str]:
        idle = self._snapshot.now - engine.last_used
        return self._busy(engine), engine.priority, -idle / max(engine.load_seconds, 0.05), engine.alias

    def _past_their_ttl(self) -> Iterator[Action]:  # (8)
        for engine in self._room.up.values():
            free_to_go = engine.state is EngineState.READY and not engine.pinned and not self._busy(engine)
            if free_to_go and engine.unload_at <= self._snapshot.now and engine.alias not in self._drained:
                yield Drain(engine.alias, "", f"{self._use_of(engine)}, the end of its ttl")

    def _why(self, victim: EngineView, wait: Wait, obstacles: set[str]) -> str:
        """`idle 41 s; b has waited 0.2 s for a place; c is pinned`"""
        waited = f"{wait.alias} has waited {_seconds(self._snapshot.now - wait.since)} for a place"
        others = sorted(obstacles - {victim.alias} - self._room.leaving)[:_SHOWN]
        kept = [f"{alias} is {self._use_of(self._room.up[alias])}" for alias in others]
        return "; ".join((self._use_of(victim), waited, *kept))

    def _use_of(self, engine: EngineView) -> str:
        if engine.pinned:
            return "pinned"
        if engine.state is not EngineState.READY:
            return str(engine.state)
        if engine.in_flight:
            return f"busy with {engine.in_flight}"
        return f"idle {_seconds(self._snapshot.now - max(engine.last_used, engine.ready_at))}"


def _held(room: Room, obstacles: set[str], all_of_them: bool) -> set[str]:
    """Those that no eviction moves, where they are enough to be in the way for ever."""
    pinned = {alias for alias in obstacles if room.up[alias].pinned and room.up[alias].state is EngineState.READY}
    return pinned if pinned and (all_of_them or pinned == obstacles) else set()


def _shortage(lacking: dict[str, int]) -> str:
    return " and ".join(f"{size_in_words(size)} of {name}" for name, size in lacking.items()) + " are missing"


def _names(aliases: set[str]) -> str:
    names = " and ".join(f"'{alias}'" for alias in sorted(aliases))
    return f"{names} {'is' if len(aliases) == 1 else 'are'}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _waited_for(engine: EngineView) -> float:
    """How many seconds of a BACKOFF are no reason to refuse."""
    return SHORT_BACKOFF_S if engine.may_come_up else 0.0


_SINCE, _PRIORITY = itemgetter(1), itemgetter(2)


def _in_order(snapshot: SchedulerSnapshot) -> dict[str, Wait]:
    """The oldest wait of each alias: those of `max_wait` and more first, then by priority, then by age."""
    oldest: dict[str, Wait] = {}
    for wait in sorted(snapshot.waiting, key=_SINCE):
        oldest.setdefault(wait[0], wait)
    overdue = snapshot.now - snapshot.max_wait
    late = [wait for wait in oldest.values() if wait[1] <= overdue]
    # A stable sort: those of one priority stay in the order of their age
    others = sorted((wait for wait in oldest.values() if wait[1] > overdue), key=_PRIORITY, reverse=True)
    return {wait[0]: wait for wait in (*late, *others)}
