"""Who gets a place: a pure decision from a snapshot to actions. No clock, no I/O, no log.

For each alias that somebody waits for, in the order of its oldest wait, the engine is

(1) READY: everyone who waits for it gets a lease;
(2) STARTING: they wait for that start, together;
(3) FATAL, or in BACKOFF: they are refused with the diagnosis. In a BACKOFF that is over in this moment they wait, and
    in one that is over soon where the engine has been up before: what it went down of may have been chance;
(4) in BACKOFF for want of memory that engines of ours hold: one of those makes room as in (7), and it is tried again;
(5) DRAINING or STOPPING: they wait until it is STOPPED;
(6) STOPPED, a place is free and nothing is up that it does not fit beside: it is started;
(7) STOPPED otherwise: an engine that is on its way out already will do; else the least recently used idle engine is
    drained; else, when the wait has lasted `PATIENCE_S`, the least recently used busy one takes no new leases, so that
    steady traffic on one alias cannot shut out another for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.supervisor.states import OCCUPYING, EngineState

PATIENCE_S = 5.0
# A BACKOFF for so long is waited for by who knows that the engine can start
SHORT_BACKOFF_S = 2.0
_LEAVING = frozenset((EngineState.DRAINING, EngineState.STOPPING))

# Aliases whose engines cannot all be up at once
Misfit = frozenset[str]


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine as the policy sees it.

    `last_used` is when its last lease ended, and `retry_at` when a BACKOFF is over, on the snapshot's clock.
    `has_been_up`: a start of it has succeeded.
    `wants_memory`: its start failed for want of memory that others of ours may hold. `room_made`: one of those has gone
    since.
    """

    alias: str
    state: EngineState
    in_flight: int = 0
    last_used: float = 0.0
    retry_at: float = 0.0
    has_been_up: bool = False
    wants_memory: bool = False
    room_made: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody waits for `alias` since `since`."""

    alias: str
    since: float


@dataclass(frozen=True, slots=True)
class SchedulerSnapshot:
    now: float
    max_loaded: int
    engines: tuple[EngineView, ...]
    waiting: tuple[Wait, ...]
    misfits: frozenset[Misfit] = frozenset()


@dataclass(frozen=True, slots=True)
class Grant:
    alias: str


@dataclass(frozen=True, slots=True)
class Refuse:
    alias: str


@dataclass(frozen=True, slots=True)
class Start:
    alias: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The start that failed for want of memory."""

    alias: str


@dataclass(frozen=True, slots=True)
class Drain:
    """`alias` makes room for `room_for`."""

    alias: str
    room_for: str


Action = Grant | Refuse | Start | Retry | Drain


def decide(snapshot: SchedulerSnapshot) -> list[Action]:
    """The actions for now; called again after whatever they change."""
    return _Decision(snapshot).actions()


@dataclass
class _Decision:
    """One pass over the waits; what was decided for one counts for the next."""

    snapshot: SchedulerSnapshot
    _drained: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        engines = self.snapshot.engines
        self._engines = {engine.alias: engine for engine in engines}
        self._waits = _oldest_waits(self.snapshot.waiting)
        self._up = {engine.alias for engine in engines if engine.state in OCCUPYING}
        self._free = self.snapshot.max_loaded - len(self._up)
        # Places that will be free without our doing
        self._leaving = {engine.alias for engine in engines if engine.state in _LEAVING}

    def actions(self) -> list[Action]:
        decided = [self._of(self._engines[wait.alias], wait) for wait in self._waits.values()]
        return [action for action in decided if action is not None]

    def _of(self, engine: EngineView, wait: Wait) -> Action | None:
        match engine.state:
            case EngineState.READY if engine.alias not in self._drained:  # (1)
                return Grant(engine.alias)
            case EngineState.BACKOFF if engine.wants_memory:  # (4)
                return self._with_more_memory(engine, wait)
            case EngineState.BACKOFF if engine.retry_at <= self.snapshot.now + _waited_for(engine):  # (3)
                return None
            case EngineState.BACKOFF | EngineState.FATAL:  # (3)
                return Refuse(engine.alias)
            case EngineState.STOPPED:
                return self._started(engine, wait)
            case _:  # (2), (5)
                return None

    def _with_more_memory(self, engine: EngineView, wait: Wait) -> Action | None:
        if engine.room_made:
            return Retry(engine.alias)
        if self._leaving:
            return None
        if not self._up:
            return Refuse(engine.alias)
        return self._make_room(wait, among=self._up)

    def _started(self, engine: EngineView, wait: Wait) -> Action | None:
        beside = self._in_the_way(engine.alias)
        if self._free > 0 and not beside:  # (6)
            self._free -= 1
            self._up.add(engine.alias)
            return Start(engine.alias)
        if leaving := self._leaving & (beside or self._leaving):  # (7) cleared already
            self._leaving.discard(min(leaving))
            return None
        return self._make_room(wait, among=beside or self._up)

    def _in_the_way(self, alias: str) -> set[str]:
        """What is up of those that `alias` does not fit beside."""
        aliases: set[str] = set()
        for misfit in self.snapshot.misfits:
            others = misfit - {alias}
            if alias in misfit and others <= self._up:
                aliases |= others
        return aliases

    def _make_room(self, wait: Wait, *, among: set[str]) -> Action | None:
        patient = self.snapshot.now - wait.since < PATIENCE_S
        spared = self._drained | set(self._waits) if patient else self._drained
        candidates = [
            engine
            for engine in self.snapshot.engines
            if engine.state is EngineState.READY
            and engine.alias in among - spared
            and not (patient and engine.in_flight)
        ]
        victim = min(candidates, key=lambda engine: (engine.in_flight > 0, engine.last_used), default=None)
        if victim is None:
            return None
        self._drained.add(victim.alias)
        return Drain(victim.alias, wait.alias)


def _waited_for(engine: EngineView) -> float:
    """How many seconds of a BACKOFF are no reason to refuse."""
    return SHORT_BACKOFF_S if engine.has_been_up else 0.0


def _oldest_waits(waiting: Iterable[Wait]) -> dict[str, Wait]:
    oldest: dict[str, Wait] = {}
    for wait in sorted(waiting, key=lambda wait: wait.since):
        oldest.setdefault(wait.alias, wait)
    return oldest
