"""One alias's engine and its use, as the scheduler keeps it; everybody else gets an `EngineStatus`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from app.scheduler.engine_status import EngineStatus
from app.scheduler.lease import Lease
from app.supervisor.process import Engine
from app.supervisor.states import EngineState


@dataclass(slots=True)
class EngineUse:
    """Moments are on the loop's clock."""

    engine: Engine
    leases: set[Lease] = field(default_factory=set)
    last_used: float | None = None
    # Where a verb that the engine has not taken up yet will lead; without it two decisions in one turn of the
    # loop would count the same free place twice.
    heading: EngineState | None = None
    # When the engine came into its state, and why
    since: float | None = None
    reason: str = ""
    load_seconds: float | None = None

    @property
    def in_flight(self) -> int:
        return len(self.leases)

    @property
    def state(self) -> EngineState:
        return self.heading or self.engine.state

    def moved(self, now: float) -> None:
        """The engine is in another state than before."""
        if self.engine.state is EngineState.READY and self.since is not None:
            self.load_seconds = now - self.since
        self.since = now

    def status(self, waiting: int, slots: int = 1) -> EngineStatus:
        engine, epoch = self.engine, time.time() - asyncio.get_running_loop().time()
        return EngineStatus(
            engine.alias,
            self.state,
            since=None if self.since is None else epoch + self.since,
            reason=self.reason,
            pid=engine.pid,
            port=engine.port,
            slots=slots,
            in_flight=self.in_flight,
            waiting=waiting,
            last_used=None if self.last_used is None else epoch + self.last_used,
            retry_after=engine.retry_after,
            load_seconds=self.load_seconds,
            diagnosis=engine.diagnosis,
            speculation=engine.speculation,
            facts=engine.facts,
            plan=engine.plan,
            loading=engine.loading,
        )
