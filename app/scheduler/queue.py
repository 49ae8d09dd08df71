"""Who waits for one engine: fair between clients, then first come."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from app.scheduler.lease import Lease


@dataclass(slots=True, eq=False)
class Ticket:
    """What a request says of itself when it asks for an engine, and how many are before it while it waits.

    `client` is whom it is from: slots go to clients by turns. `takes_slot` is for what the engine decodes or embeds.
    `keep_alive` is how long the engine is to stay after the answer, in seconds, None for as long as the model's `ttl`
    says; `pins` keeps it for good. An `errand` is the gateway's own: it loads, and is no use of the engine.
    """

    client: str = ""
    takes_slot: bool = True
    keep_alive: float | None = None
    pins: bool = False
    errand: bool = False
    _queued: tuple[EngineQueue, Waiter] | None = field(default=None, repr=False)

    @property
    def before(self) -> int | None:
        """How many requests go first; None for a request that does not wait in a queue."""
        if self._queued is None:
            return None
        queue, waiter = self._queued
        return queue.before(waiter) if waiter in queue else None

    def queued(self, queue: EngineQueue, waiter: Waiter) -> None:
        self._queued = queue, waiter


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that waits for an engine; `since` is on the loop's clock."""

    alias: str
    since: float
    ticket: Ticket
    body: bytes | None = None
    granted: asyncio.Future[Lease] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    # Of the wait for a place, and then anew of that for the load
    limit: asyncio.Timeout | None = None

    def wait_until(self, at: float) -> None:
        """Moves the limit, unless it was passed in this very turn of the loop."""
        if self.limit is not None and self.limit.when() is not None and not self.granted.done():
            with suppress(RuntimeError):
                self.limit.reschedule(at)

    def refuse(self, error: Exception) -> None:
        if not self.granted.done():
            self.granted.set_exception(error)

    def give_back(self) -> None:
        """For a waiter that left in the same turn of the loop in which it was granted a lease."""
        if self.granted.done() and not self.granted.cancelled() and self.granted.exception() is None:
            self.granted.result().release()


class EngineQueue:
    """The waiters of one engine. Those that take no slot wait for the engine alone."""

    def __init__(self) -> None:
        # In the order of whose turn it is; each client's own in the order of their coming
        self._clients: OrderedDict[str, dict[Waiter, None]] = OrderedDict()
        self._slotless: dict[Waiter, None] = {}
        self._slotted = 0

    def __len__(self) -> int:
        return self._slotted + len(self._slotless)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._slotless or waiter in self._clients.get(waiter.ticket.client, ())

    @property
    def slotted(self) -> int:
        """How many wait for a slot."""
        return self._slotted

    @property
    def since(self) -> float | None:
        """Since when the oldest waits."""
        heads = [next(iter(waiters)).since for waiters in (*self._clients.values(), self._slotless) if waiters]
        return min(heads, default=None)

    def add(self, waiter: Waiter) -> None:
        if waiter.ticket.takes_slot:
            self._clients.setdefault(waiter.ticket.client, {})[waiter] = None
            self._slotted += 1
        else:
            self._slotless[waiter] = None
        waiter.ticket.queued(self, waiter)

    def discard(self, waiter: Waiter) -> bool:
        """Whether it was there."""
        if waiter in self._slotless:
            del self._slotless[waiter]
            return True
        own = self._clients.get(waiter.ticket.client, {})
        if waiter not in own:
            return False
        del own[waiter]
        self._slotted -= 1
        if not own:
            del self._clients[waiter.ticket.client]
        return True

    def take(self, slots: float) -> list[Waiter]:
        """Those whose turn it is, where so many slots are free."""
        taken, self._slotless = list(self._slotless), {}
        while slots >= 1 and self._clients:
            client, waiters = self._clients.popitem(last=False)
            waiter = next(iter(waiters))
            del waiters[waiter]
            if waiters:
                self._clients[client] = waiters
            self._slotted -= 1
            taken.append(waiter)
            slots -= 1
        return taken

    def all(self) -> list[Waiter]:
        return [waiter for waiters in (*self._clients.values(), self._slotless) for waiter in waiters]

    def before(self, waiter: Waiter) -> int:
        """How many get a slot before `waiter` does, as things stand."""
        if waiter in self._slotless:
            return 0
        own = list(self._clients[waiter.ticket.client]).index(waiter)
        count, turn_passed = own, False
        for client, waiters in self._clients.items():
            if client == waiter.ticket.client:
                turn_passed = True
            else:
                count += min(len(waiters), own if turn_passed else own + 1)
        return count
