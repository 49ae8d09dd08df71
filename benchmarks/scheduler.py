"""One decision of the scheduler with a thousand models and ten thousand requests that wait for them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

from app.engine.devices import Device
from app.models.ref import ModelRef
from app.scheduler.loop import Scheduler
from app.scheduler.memory_book import MemoryBook
from app.scheduler.queue import Ticket, Waiter
from app.scheduler.residency import Residency
from app.scheduler.room import UNCAPPED
from app.supervisor.memory_sight import SeenMemory
from app.supervisor.states import EngineState
from tests.support.models import ref_to
from tests.support.scheduled import ObedientEngine

MODELS, WAITING, UP = 1_000, 10_000, 4
SIZE = 2**30
ROUNDS = 200


@dataclass(frozen=True)
class DecisionTimes:
    """Medians, in seconds: of a decision by the clock and by its thread's CPU time, of a lease of an engine that is up,

    and of a request that leaves.
    """

    decision: float
    cpu: float
    lease: float
    leave: float


def measure(*, by_memory: bool) -> DecisionTimes:
    """All engines that are up are busy, so that every decision finds no room and moves nobody.

    `max_loaded` is what is in the way, or with `by_memory` the memory of one device that all need.
    """
    return asyncio.run(_measure(by_memory))


async def _measure(by_memory: bool) -> DecisionTimes:
    def make(ref: ModelRef) -> ObedientEngine:
        up = int(ref.alias[1:]) < UP
        return ObedientEngine(ref.alias, scheduler, EngineState.READY if up else EngineState.STOPPED)

    names = [f"m{at}" for at in range(MODELS)]
    scheduler = Scheduler(
        make,  # type: ignore[arg-type]
        max_loaded=UNCAPPED if by_memory else UP,
        queue_timeout=600,
        queue=WAITING,
        residency=lambda ref: Residency(slots=2, pin=ref.alias == "m0"),
        memory=await _memory(names) if by_memory else None,
    )
    held = [await scheduler.lease(ref_to(alias)) for alias in names[:UP]]
    now = asyncio.get_running_loop().time()
    waiters = [Waiter(names[UP + at % (MODELS - UP)], now, Ticket(f"client {at % 7}"), b"{}") for at in range(WAITING)]
    for waiter in waiters:
        scheduler._enqueue(scheduler.use(ref_to(waiter.alias)), waiter)
    placement = scheduler._placement
    placement.pump()
    rounds = []
    for waiter in waiters[:ROUNDS]:
        began = time.perf_counter()
        (await scheduler.lease(ref_to(names[1]))).release()
        leased = time.perf_counter()
        scheduler._dequeue(scheduler.use(ref_to(waiter.alias)), waiter)
        left, cpu = time.perf_counter(), time.thread_time()
        placement.pump()
        decided, spent = time.perf_counter(), time.thread_time()
        rounds.append((decided - left, spent - cpu, leased - began, left - leased))
    for lease in held:
        lease.release()
    placement.close()
    return DecisionTimes(*map(statistics.median, zip(*rounds, strict=True)))


async def _memory(aliases: Iterable[str]) -> MemoryBook:
    """A device that holds as many of them as are up."""
    device = Device("CUDA0", "a device", UP * SIZE, UP * SIZE)
    memory = MemoryBook({"CUDA0": UP * SIZE}, 0.0, lambda: SeenMemory((device,), UP * SIZE))
    await memory.look()
    for alias in aliases:
        memory._note(alias, {"CUDA0": SIZE}, 0)
    return memory
