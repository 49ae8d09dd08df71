"""Who gets a place: a pure decision from a snapshot to actions. No clock, no I/O, no log.

For each alias that somebody waits for, in the order of its oldest wait, the engine is

(1) READY: everyone who waits for it gets a lease;
(2) STARTING: they wait for that start, together;
(3) BACKOFF or FATAL: they are refused with the diagnosis;
(4) DRAINING or STOPPING: they wait until it is STOPPED;
(5) STOPPED, and a place is free: it is started;
(6) STOPPED, and all places are taken: a place that is being cleared already will do; else the least recently
    used idle engine is drained; else, when the wait has lasted `PATIENCE_S`, the least recently used busy one
    takes no new leases, so that steady traffic on one alias cannot shut out another for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.supervisor.states import OCCUPYING, EngineState

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine as the policy sees it; `last_used` is when its last lease ended, on the snapshot's clock."""

    alias: str
    state: EngineState
    in_flight: int = 0
    last_used: float = 0.0


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
class Drain:
    alias: str


Action = Grant | Refuse | Start | Drain


def decide(snapshot: SchedulerSnapshot) -> list[Action]:
    """The actions for now; called again after whatever they change."""
    engines = {engine.alias: engine for engine in snapshot.engines}
    waits = _oldest_waits(snapshot.waiting)
    free = snapshot.max_loaded - sum(engine.state in OCCUPYING for engine in snapshot.engines)
    leaving = sum(engine.state in (EngineState.DRAINING, EngineState.STOPPING) for engine in snapshot.engines)
    actions: list[Action] = []
    drained: set[str] = set()
    for wait in waits.values():
        match engines[wait.alias].state:
            case EngineState.READY if wait.alias not in drained:  # (1)
                actions.append(Grant(wait.alias))
            case EngineState.BACKOFF | EngineState.FATAL:  # (3)
                actions.append(Refuse(wait.alias))
            case EngineState.STOPPED if free > 0:  # (5)
                free -= 1
                actions.append(Start(wait.alias))
            case EngineState.STOPPED if leaving > 0:  # (6) cleared already
                leaving -= 1
            case EngineState.STOPPED:  # (6) make room
                patient = snapshot.now - wait.since < PATIENCE_S
                victim = _victim(snapshot.engines, spared=drained | set(waits) if patient else drained, idle=patient)
                if victim is not None:
                    drained.add(victim)
                    actions.append(Drain(victim))
            case _:  # (2), (4)
                pass
    return actions


def _oldest_waits(waiting: Iterable[Wait]) -> dict[str, Wait]:
    oldest: dict[str, Wait] = {}
    for wait in sorted(waiting, key=lambda wait: wait.since):
        oldest.setdefault(wait.alias, wait)
    return oldest


def _victim(engines: Iterable[EngineView], *, spared: set[str], idle: bool) -> str | None:
    """The least recently used READY engine that may go; idle ones first, busy ones only out of patience."""
    candidates = [
        engine
        for engine in engines
        if engine.state is EngineState.READY and engine.alias not in spared and not (idle and engine.in_flight)
    ]
    chosen = min(candidates, key=lambda engine: (engine.in_flight > 0, engine.last_used), default=None)
    return chosen.alias if chosen else None
