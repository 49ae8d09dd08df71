"""The waiting requests of one engine: fair between clients, then first come, first served."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from app.scheduler.lease import Lease


@dataclass(slots=True, eq=False)
class Ticket:
    """A request's demands on an engine, and its position while it waits.

    Slots go to clients by turns; `client` names the request's. `takes_slot` is True if the engine decodes or embeds.
    `keep_alive` is the stay after the answer in seconds, None for the model's `ttl`. `pins` keeps the engine for good.
    An `errand` is the gateway's own load and does not count as a use.
    """

    client: str = ""
    takes_slot: bool = True
    keep_alive: float | None = None
    pins: bool = False
    errand: bool = False
    _queued: tuple[EngineQueue, Waiter] | None = field(default=None, repr=False)

    @property
    def before(self) -> int | None:
        """The number of requests ahead; None for a request that does not wait in a queue."""
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
    # Of the wait for a place, then of the wait for the load
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
        """Releases a lease that was granted in the same turn of the loop in which the waiter left."""
        if self.granted.done() and not self.granted.cancelled() and self.granted.exception() is None:
            self.granted.result().release()


class EngineQueue:
    """The waiters of one engine. Those that take no slot wait for the engine alone."""

    def __init__(self) -> None:
        # Clients in the order of their turns, each with its waiters in order of arrival
        self._clients: OrderedDict[str, dict[Waiter, None]] = OrderedDict()
        self._slotless: dict[Waiter, None] = {}
        self._slotted = 0

    def __len__(self) -> int:
        return self._slotted + len(self._slotless)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._slotless or waiter in self._clients.get(waiter.ticket.client, ())

    @property
    def slotted(self) -> int:
        """The number of waiters for a slot."""
        return self._slotted

    @property
    def since(self) -> float | None:
        """The beginning of the oldest wait, None without waiters."""
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
        """Removes a waiter; returns whether it was queued."""
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
        """Removes and returns the next waiters for this number of free slots."""
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
        """The number of waiters that get a slot before `waiter`, at present."""
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
