"""Queues requests, leases READY engines to them, and refuses those that waited too long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from app.errors import DeadlyRequestError, TandemError
from app.models.ref import ModelRef
from app.scheduler.decisions import PlacementDecision
from app.scheduler.engine_status import EngineStatus
from app.scheduler.engine_use import EngineUse
from app.scheduler.lease import Lease
from app.scheduler.memory_book import EngineMemory
from app.scheduler.node_places import NodePlaces
from app.scheduler.placement import Placement
from app.scheduler.queue import Ticket, Waiter
from app.scheduler.reconfiguration import Reconfiguration
from app.scheduler.refusals import (
    SchedulerLimits,
    check,
    refused_for_memory,
    room_in_the_queue,
    shutting_down,
    too_late,
)
from app.scheduler.residency import Residency
from app.scheduler.snapshot import MAX_WAIT_S
from app.scheduler.suspects import Suspects
from app.scheduler.verbs import Verbs
from app.supervisor.endings import NODE_LOST
from app.supervisor.process import Engine
from app.supervisor.states import OCCUPYING, EngineState

# The codes of engines that another process has ended, or that are gone with their machine: no request is the cause
_ENDED_BY_OTHERS = ("terminated", NODE_LOST)


class Scheduler:
    """Leases for local engines. `make` creates the engine of a ref, `residency` gives its stay and its slots.

    Engines are known by `ModelRef.engine_key`. At most `max_loaded` are up. `queue` requests may wait for one engine,
    ten times as many in all. A request waits `queue_timeout` seconds for a place, then as long for the load. Room is
    made for it within `max_wait` seconds. `prepare` is called before a load without a request. `memory` gives needs and
    budgets.
    """

    def __init__(
        self,
        make: Callable[[ModelRef], Engine],
        *,
        max_loaded: int,
        queue_timeout: float,
        max_wait: float = MAX_WAIT_S,
        queue: int = 100,
        residency: Callable[[ModelRef], Residency] = lambda _: Residency(),
        prepare: Callable[[ModelRef], Awaitable[None]] | None = None,
        memory: EngineMemory | None = None,
        nodes: NodePlaces | None = None,
    ) -> None:
        limits = SchedulerLimits(max_loaded, queue_timeout, max_wait, queue)
        self._make = make
        self._residency = residency
        self._placement = Placement(limits, serve=self._serve, refuse=self.send_away, memory=memory, nodes=nodes)
        self._uses = self._placement.uses
        self.closing = False
        # Waiting requests, over all engines
        self.queued = 0
        self._suspects = Suspects()
        self.verbs = Verbs(self, self._placement, self._suspects, prepare)
        self.reconfiguration = Reconfiguration(self, self._placement)

    def __repr__(self) -> str:
        engines = ", ".join(f"{alias}: {use.engine.state} {use.in_flight}" for alias, use in self._uses.items())
        return f"<Scheduler [{engines}], {self.queued} waiting>"

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        return sum(use.in_flight for use in self._uses.values())

    def in_flight_of(self, engine_key: str) -> int:
        """Requests that hold a lease of this engine."""
        use = self._uses.get(engine_key)
        return use.in_flight if use is not None else 0

    @property
    def waiting(self) -> Mapping[str, int]:
        return {alias: len(use.queue) for alias, use in self._uses.items()}

    @property
    def decisions(self) -> list[PlacementDecision]:
        """The last decisions, the newest first."""
        return self._placement.decisions.all()

    def holding(self) -> list[str]:
        """The aliases whose engines hold memory, or are about to."""
        return [alias for alias, use in self._uses.items() if use.state in OCCUPYING]

    def status(self, ref: ModelRef) -> EngineStatus:
        """The engine of `ref` as it is now; STOPPED if no request has named it yet."""
        use = self._uses.get(ref.engine_key)
        if use is None:
            residency = self._residency(ref)
            return EngineStatus(ref.engine_key, slots=residency.slots, pinned=residency.pin)
        return use.status()

    def named(self, engine_key: str) -> bool:
        """Tells whether a request has named this engine. Before that it is STOPPED."""
        return engine_key in self._uses

    def statuses(self) -> list[EngineStatus]:
        """All engines that are or may be up: of every model, and of each variant that a request has named."""
        return [use.status() for use in self._uses.values()]

    async def settled(self, ref: ModelRef) -> EngineStatus:
        """The status of `ref` once its start has succeeded or failed."""
        engine = self.use(ref).engine
        while engine.state in (EngineState.STOPPED, EngineState.STARTING):
            await engine.changed()
        return self.status(ref)

    def start(self, ref: ModelRef, why: str) -> None:
        """Starts the engine of `ref` at once, without a request. The caller checks that a place is free."""
        self._placement.start(self.use(ref), why)

    # -- requests ------------------------------------------------------------------------------------------------

    def use(self, ref: ModelRef) -> EngineUse:
        """The use of the engine of `ref`, created on first use: variants exist only once a request names them."""
        key = ref.engine_key
        if key not in self._uses:
            self._uses[key] = EngineUse(self._make(ref), self._residency(ref))
            self._placement.concern(self._uses[key])
        return self._uses[key]

    async def lease(self, ref: ModelRef, body: bytes | None = None, ticket: Ticket | None = None) -> Lease:
        """Leases the READY engine of `ref` to a request with `body`; starts the engine or waits for it as needed.

        Raises an EngineUnavailableError. A cancelled caller leaves the queue; a start that it caused continues for the
        others.
        """
        self._still_open(ref)
        use, alias, ticket = self.use(ref), ref.engine_key, ticket or Ticket()
        if refused_for := self._suspects.refused_for(alias, body, asyncio.get_running_loop().time()):
            raise DeadlyRequestError(alias, use.engine.diagnosis, retry_after=refused_for)
        if use.state is EngineState.READY and (not ticket.takes_slot or use.free_slots >= 1):
            return self._grant(use, body, ticket)
        room_in_the_queue(use, self.queued, self._placement.limits)
        if use.state in (EngineState.STOPPED, EngineState.FATAL) or refused_for_memory(use.engine):
            await check(use.engine)
            self._still_open(ref)  # the check may have outlasted the gateway, or the model
            use = self.use(ref)
            if refused_for_memory(use.engine):
                self._placement.retry(use, "there is memory for it now")
            room_in_the_queue(use, self.queued, self._placement.limits)
        return await self._wait(use, Waiter(alias, asyncio.get_running_loop().time(), ticket, body))

    async def _wait(self, use: EngineUse, waiter: Waiter) -> Lease:
        self._enqueue(use, waiter)
        self._placement.pump()
        lease = None
        try:
            # An errand has no client that waits, so it lasts as long as the load
            limit = None if waiter.ticket.errand else self._placement.limits.queue_timeout
            async with asyncio.timeout(limit) as waiter.limit:
                lease = await waiter.granted
                return lease
        except TimeoutError:
            raise too_late(use, self._placement.limits.queue_timeout) from None
        finally:
            self._dequeue(use, waiter)
            if lease is None:
                waiter.give_back()

    def _enqueue(self, use: EngineUse, waiter: Waiter) -> None:
        use.queue.add(waiter)
        self.queued += 1
        self._placement.concern(use)

    def _dequeue(self, use: EngineUse, waiter: Waiter) -> None:
        """Removes a waiter that has left; no effect on one that was served."""
        if use.queue.discard(waiter):
            self.queued -= 1
            self._placement.concern(use)
            # The engine that was kept for it may be unloaded
            self._placement.look_at(use.unload_at)

    def _still_open(self, ref: ModelRef) -> None:
        if self.closing:
            raise shutting_down()
        self.reconfiguration.check(ref)

    def _serve(self, use: EngineUse) -> None:
        """Grants leases to the waiters that are next."""
        # Repeated, since a waiter that left in this turn of the loop has given its slot back
        while waiters := use.queue.take(use.free_slots):
            self.queued -= len(waiters)
            for waiter in waiters:
                if not waiter.granted.done():
                    waiter.granted.set_result(self._grant(use, waiter.body, waiter.ticket))
        self._placement.concern(use)

    def send_away(self, use: EngineUse, error: Callable[[], TandemError]) -> None:
        """Refuses all waiters of an engine, each with its own error."""
        for waiter in use.queue.all():
            self._dequeue(use, waiter)
            waiter.refuse(error())

    def _grant(self, use: EngineUse, body: bytes | None, ticket: Ticket) -> Lease:
        engine, address, began = use.engine, use.engine.address, asyncio.get_running_loop().time()

        def answered() -> None:
            engine.answered()
            self._suspects.answered(use.alias, body)

        def release() -> None:
            self._released(use, lease, ticket, began)

        lease = Lease(
            use.alias,
            address.base_url,
            address.key,
            engine,
            release,
            body=body,
            answered=answered,
            in_flight=use.in_flight + 1,
        )
        use.leased(lease, ticket, began)
        self._placement.concern(use)
        return lease

    def _released(self, use: EngineUse, lease: Lease, ticket: Ticket, began: float) -> None:
        now = asyncio.get_running_loop().time()
        use.released(lease, began, now)
        self._placement.concern(use)
        if use.engine.state is EngineState.DRAINING and use.in_flight == 0:
            use.engine.drained()
        if use.state is not EngineState.READY:
            return
        if use.queue:
            self._serve(use)
        if use.in_flight == 0:
            if ticket.keep_alive == 0 and not use.pinned and not use.used_by_others(ticket.client, now):
                self._placement.drain(use, "unloaded", "keep_alive 0, and no other client has used it for a minute")
            elif self.queued:
                self._placement.pump()
            self._placement.look_at(use.unload_at)

    # -- engines -------------------------------------------------------------------------------------------------

    def changed(self, engine: Engine) -> None:
        """Handles a transition; to be called after each one of an engine."""
        use = self._uses.get(engine.alias)
        if use is not None and use.engine is engine:
            self._placement.moved(engine)
            self._notify_waiters(use)
        self._placement.pump()
        if use is not None and use.engine is engine:
            self.reconfiguration.moved(use)

    def _notify_waiters(self, use: EngineUse) -> None:
        """Applies a transition to the requests that wait for the engine or are with it."""
        engine, now = use.engine, asyncio.get_running_loop().time()
        if engine.state is EngineState.STARTING:
            for waiter in use.queue.all():
                waiter.wait_until(now + self._placement.limits.queue_timeout)
        died = engine.state is EngineState.BACKOFF and (use.leases or use.came_from is EngineState.READY)
        if died and engine.diagnosis is not None and engine.diagnosis.code not in _ENDED_BY_OTHERS:
            self._suspects.died(engine.alias, [lease.body for lease in use.leases], now)

    def pump(self) -> None:
        """Decides again: the nodes have changed."""
        self._placement.pump()

    def limit(self, **limits: float) -> None:
        """Replaces limits by name, from the next decision on."""
        self._placement.limits = replace(self._placement.limits, **limits)  # type: ignore[arg-type]
        self._placement.pump()

    def reread(self, ref: ModelRef) -> None:
        """Reads the residency of `ref` again, after a reload of the settings."""
        if (use := self._uses.get(ref.engine_key)) is not None:
            use.residency = self._residency(ref)
            self._placement.concern(use)
            self._placement.pump()

    def preload(self, refs: Iterable[ModelRef]) -> None:
        """Begins to load the models with `preload`."""
        self.verbs.preload((ref, self._residency(ref)) for ref in refs)

    def refuse_new(self) -> None:
        """Grants no new leases and refuses waiting requests. Running streams continue."""
        self.closing = True
        for use in self._uses.values():
            self.send_away(use, shutting_down)

    def hurry(self) -> None:
        """Ends every engine at once, also those that are stopping already."""
        for use in self._uses.values():
            use.engine.hurry()

    async def close(self) -> None:
        """Ends all engines in parallel; returns when every child is reaped."""
        self.refuse_new()
        self._placement.close()
        await self.verbs.close()
        await self.reconfiguration.close()
        await asyncio.gather(*(use.engine.close() for use in self._uses.values()))
