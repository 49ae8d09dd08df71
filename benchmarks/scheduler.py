"""One decision of the scheduler with a thousand models and ten thousand requests that wait for them."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from app.models.ref import ModelRef
from app.scheduler.loop import Scheduler
from app.scheduler.queue import Ticket, Waiter
from app.scheduler.residency import Residency
from app.supervisor.states import EngineState
from tests.support.models import ref_to
from tests.support.scheduled import ObedientEngine

MODELS, WAITING, UP = 1_000, 10_000, 4
ROUNDS = 200


@dataclass(frozen=True)
class DecisionTimes:
    """Medians, in seconds: of one decision, of a lease of an engine that is up, and of a request that leaves."""

    decision: float
    lease: float
    leave: float


def measure() -> DecisionTimes:
    """All engines that are up are busy, so that every decision looks at all that wait and moves nobody."""
    return asyncio.run(_measure())


async def _measure() -> DecisionTimes:
    def make(ref: ModelRef) -> ObedientEngine:
        up = int(ref.alias[1:]) < UP
        return ObedientEngine(ref.alias, scheduler, EngineState.READY if up else EngineState.STOPPED)

    scheduler = Scheduler(
        make,  # type: ignore[arg-type]
        max_loaded=UP,
        queue_timeout=600,
        queue=WAITING,
        residency=lambda ref: Residency(slots=2, pin=ref.alias == "m0"),
    )
    names = [f"m{at}" for at in range(MODELS)]
    held = [await scheduler.lease(ref_to(alias)) for alias in names[:UP]]
    now = asyncio.get_running_loop().time()
    waiters = [Waiter(names[UP + at % (MODELS - UP)], now, Ticket(f"client {at % 7}"), b"{}") for at in range(WAITING)]
    for waiter in waiters:
        scheduler._enqueue(scheduler.use(ref_to(waiter.alias)), waiter)
    placement = scheduler._placement
    placement.pump()
    decisions, leases, leaves = [], [], []
    for waiter in waiters[:ROUNDS]:
        began = time.perf_counter()
        (await scheduler.lease(ref_to(names[1]))).release()
        leased = time.perf_counter()
        scheduler._dequeue(scheduler.use(ref_to(waiter.alias)), waiter)
        left = time.perf_counter()
        placement.pump()
        decisions.append(time.perf_counter() - left)
        leases.append(leased - began)
        leaves.append(left - leased)
    for lease in held:
        lease.release()
    placement.close()
    return DecisionTimes(*map(statistics.median, (decisions, leases, leaves)))
