"""Chooses the engine that leaves to make room for another. Pure.

Idle engines leave first, then those of a lower `priority`, then the one that costs least for the memory that it frees.
The cost is the time of its load, as often as it is used: `demand.py` estimates that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from app.scheduler.line import WaitingLine
from app.scheduler.snapshot import EngineView, SchedulerSnapshot, Wait
from app.supervisor.states import EngineState

# Quicker loads count as equal. What they take depends on the machine's other work more than on the model
_QUICK_LOAD_S = 2.0


class Eviction:
    """The engines that may leave for a waiting request, at one moment."""

    def __init__(self, snapshot: SchedulerSnapshot, waiting: WaitingLine) -> None:
        self._snapshot = snapshot
        self._waiting = waiting
        # By engine: the expected uses per second, and the end of its residency. Many waits ask for them
        self._rates: dict[str, float] = {}
        self._stays: dict[str, float] = {}

    def is_busy(self, engine: EngineView) -> bool:
        """Whether it answers a request, or has a waiting one."""
        return engine.in_flight > 0 or engine.alias in self._waiting

    def victim(self, engines: Iterable[EngineView], wait: Wait, short: Iterable[str]) -> EngineView | None:
        """Returns the one of `engines` that leaves for `wait`, None if all stay for now.

        `short` are the places where memory is missing. A pinned engine never leaves. An engine that has answered since
        the wait began keeps its minimum residency. A busy one also keeps its place for `patience`. It finishes its
        running answers.
        """
        candidates = (engine for engine in engines if self._may_leave(engine, wait))
        return min(candidates, key=lambda engine: self._rank(engine, short), default=None)

    def cost(self, engine: EngineView, wait: Wait, short: Iterable[str]) -> tuple[bool, float] | None:
        """Whether it is busy, and the expected cost if it leaves for `wait`; None if it stays for now."""
        return (self.is_busy(engine), self._loss(engine, short)[0]) if self._may_leave(engine, wait) else None

    def _may_leave(self, engine: EngineView, wait: Wait) -> bool:
        if engine.state is not EngineState.READY or engine.pinned:
            return False
        snapshot = self._snapshot
        if (stays := self._stays.get(engine.alias)) is None:
            stays = self._stays[engine.alias] = snapshot.stays_until(engine)
        resident = snapshot.now < stays
        if self.is_busy(engine):
            return not resident and snapshot.now - wait.since >= snapshot.patience
        return not (resident and engine.last_used > wait.since)

    def _rank(self, engine: EngineView, short: Iterable[str]) -> tuple[bool, int, float, float, str]:
        """The lowest leaves. Engines without known requests are compared by their idle time."""
        loss, weight = self._loss(engine, short)
        idle = (engine.last_used - self._snapshot.now) / weight
        return self.is_busy(engine), engine.priority, loss, idle, engine.alias

    def _loss(self, engine: EngineView, short: Iterable[str]) -> tuple[float, float]:
        """The expected seconds of loads per second if it leaves, and the seconds of a load per freed byte."""
        load = max(engine.load_seconds, _QUICK_LOAD_S)
        weight = load / (sum(engine.needs.get(name, 0) for name in short) or 1)
        if (rate := self._rates.get(engine.alias)) is None:
            rate = self._rates[engine.alias] = engine.demand.rate(self._snapshot.now)
        # The whole weight would have large models leave for many small ones: fewer loads, but the longest waits
        return rate * math.sqrt(weight), weight
