"""One alias's engine and its use: the scheduler's own record. Other rooms get an `EngineStatus`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.scheduler.demand import UNUSED, Demand
from app.scheduler.engine_status import EngineStatus
from app.scheduler.lease import Lease
from app.scheduler.node_places import EngineHosts
from app.scheduler.queue import EngineQueue, Ticket
from app.scheduler.residency import RECENT_S, Residency, ResidencyState
from app.scheduler.snapshot import EngineView, Wait
from app.supervisor.process import Engine
from app.supervisor.states import EngineState

# The weight of the latest answer in the moving average of answer durations
_LATEST = 0.2


@dataclass(slots=True, eq=False)
class EngineUse:
    """The engine of one alias, its leases and its queue. Moments are on the loop's clock, durations in seconds."""

    engine: Engine
    residency: Residency
    leases: dict[Lease, Ticket] = field(default_factory=dict)
    queue: EngineQueue = field(default_factory=EngineQueue)
    stay: ResidencyState = field(default_factory=ResidencyState)
    last_used: float | None = None
    busy_since: float = math.inf
    demand: Demand = UNUSED
    # The state that the last sent verb leads to, until the engine takes it up. Without it two decisions in one turn of
    # the loop would count the same free place twice.
    heading: EngineState | None = None
    # The previous state, the moment of the last change, and its reason
    came_from: EngineState = EngineState.STOPPED
    _last_state: EngineState = EngineState.STOPPED
    since: float | None = None
    reason: str = ""
    # Measured: the last load, and the average answer
    load_seconds: float | None = None
    answer_seconds: float | None = None
    _slots_taken: int = 0

    @property
    def alias(self) -> str:
        return self.engine.alias

    @property
    def in_flight(self) -> int:
        return len(self.leases)

    @property
    def state(self) -> EngineState:
        return self.heading or self.engine.state

    @property
    def free_slots(self) -> float:
        if self.residency.slots is None:
            return math.inf
        return self.residency.slots - self._slots_taken

    @property
    def pinned(self) -> bool:
        return self.stay.pinned(self.residency)

    @property
    def unload_at(self) -> float:
        """The moment of the unload if no request comes before; infinite while the engine is busy."""
        if self.state is not EngineState.READY or self.leases or self.queue:
            return math.inf
        return self.stay.unload_at(self.residency, max(_ever(self.last_used), _ever(self.since)))

    # -- events --------------------------------------------------------------------------------------------------

    def moved(self, now: float) -> None:
        """Records a transition of the engine."""
        self.heading = None
        self.came_from, self._last_state = self._last_state, self.engine.state
        match self.engine.state:
            case EngineState.READY if self.since is not None:
                self.load_seconds = now - self.since
            case EngineState.STOPPED:
                self.stay.left()
            case EngineState.BACKOFF | EngineState.FATAL if self.engine.diagnosis is not None:
                self.reason = self.engine.diagnosis.cause
        self.since = now

    def leased(self, lease: Lease, ticket: Ticket, now: float) -> None:
        if not self.leases:
            self.busy_since = now
        self.leases[lease] = ticket
        self._slots_taken += ticket.takes_slot
        if not ticket.errand:
            self.demand = self.demand.asked(now)
        if ticket.pins:
            self.stay.pin = True

    def released(self, lease: Lease, began: float, now: float) -> None:
        ticket = self.leases.pop(lease)
        self._slots_taken -= ticket.takes_slot
        if not ticket.errand:
            self.last_used = now
            self.stay.used(ticket.client, ticket.keep_alive, now)
            if ticket.takes_slot:
                before = self.answer_seconds
                self.answer_seconds = now - began if before is None else before + _LATEST * (now - began - before)

    def used_by_others(self, client: str, now: float) -> bool:
        """Whether another client uses the engine, waits for it, or has used it within `RECENT_S` seconds."""
        tickets = [*self.leases.values(), *(waiter.ticket for waiter in self.queue.all())]
        return any(ticket.client != client for ticket in tickets) or now - self.stay.used_by_others(client) < RECENT_S

    # -- reading -------------------------------------------------------------------------------------------------

    def seconds_until_served(self, before: int) -> float | None:
        """The expected wait of a request behind `before` others, from measured loads and answers; None without any."""
        parts = []
        if self.state is not EngineState.READY and self.load_seconds is not None:
            parts.append(self.load_seconds)
        if self.answer_seconds is not None:
            parts.append(self.answer_seconds * (before + 1) / (self.residency.slots or 1))
        return sum(parts) if parts else None

    def view(
        self, *, wants_memory: bool, room_made: bool, needs: Mapping[str, int], mapped: int, hosts: EngineHosts
    ) -> EngineView:
        """The engine as the policy sees it."""
        return EngineView(
            self.alias,
            self.state,
            self.in_flight,
            self.last_used or 0.0,
            retry_at=self.engine.retry_at,
            may_come_up=self.engine.may_come_up,
            wants_memory=wants_memory,
            room_made=room_made,
            pinned=self.pinned,
            exclusive=self.residency.exclusive,
            priority=self.residency.priority,
            unload_at=self.unload_at,
            busy_since=self.busy_since,
            demand=self.demand,
            load_seconds=1.0 if self.load_seconds is None else self.load_seconds,
            ready_at=_ever(self.since) if self.state is EngineState.READY else -math.inf,
            needs=needs,
            mapped=mapped,
            node=hosts.node,
            offers=tuple(hosts.offers.values()),
            ran_on=hosts.ran_on,
        )

    def wait(self) -> Wait | None:
        """The wait of the oldest queued request, None for an empty queue."""
        since = self.queue.since
        return None if since is None else Wait(self.alias, since, self.residency.priority)

    def status(self) -> EngineStatus:
        engine, epoch = self.engine, time.time() - asyncio.get_running_loop().time()
        unload_at = self.unload_at
        return EngineStatus(
            self.alias,
            self.state,
            since=None if self.since is None else epoch + self.since,
            reason=self.reason,
            pid=engine.pid,
            port=engine.port,
            host=engine.host,
            slots=self.residency.slots,
            in_flight=self.in_flight,
            waiting=len(self.queue),
            last_used=None if self.last_used is None else epoch + self.last_used,
            unloads_at=None if math.isinf(unload_at) else epoch + unload_at,
            pinned=self.pinned,
            retry_after=engine.retry_after,
            load_seconds=self.load_seconds,
            diagnosis=engine.diagnosis,
            speculation=engine.speculation,
            facts=engine.facts,
            plan=engine.plan,
            loading=engine.loading,
        )


def _ever(moment: float | None) -> float:
    return -math.inf if moment is None else moment
