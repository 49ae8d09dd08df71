"""Limits requests per minute, tokens per minute and concurrent requests of a key. Pure; the caller passes the time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from app.auth.keys import ApiKey
from app.errors import RateLimitedError

WINDOW_S = 60
# Retry-After in seconds for the concurrency limit, since the end of a running request is unknown.
_WHEN_BUSY_S = 1


class Window:
    """The sum over the last minute, by second: at most 61 numbers at any traffic."""

    def __init__(self) -> None:
        self.total = 0
        self._seconds: deque[tuple[int, int]] = deque()

    def add(self, now: float, amount: int) -> None:
        second = math.floor(now)
        if self._seconds and self._seconds[-1][0] >= second:
            second, before = self._seconds.pop()
            self._seconds.append((second, before + amount))
        else:
            self._seconds.append((second, amount))
        self.total += amount

    def forget(self, now: float) -> None:
        """Drops seconds older than a minute."""
        while self._seconds and self._seconds[0][0] + WINDOW_S <= math.floor(now):
            self.total -= self._seconds.popleft()[1]

    def room_in(self, now: float, limit: int) -> int:
        """Returns the whole seconds until the last minute's sum is below `limit`, 0 if it is."""
        self.forget(now)
        left = self.total
        if left < limit:
            return 0
        for second, amount in self._seconds:
            left -= amount
            if left < limit:
                return max(1, math.ceil(second + WINDOW_S - now))
        return WINDOW_S


class KeyTraffic:
    """One key's traffic. Tokens count at the end of an answer, so one request may exceed the limit."""

    def __init__(self) -> None:
        self._requests = Window()
        self._tokens = Window()
        self.in_flight = 0

    def enter(self, key: ApiKey, now: float) -> None:
        """Counts a request that begins. Raises RateLimitedError, and then counts nothing."""
        if key.concurrency is not None and self.in_flight >= key.concurrency:
            raise RateLimitedError(
                key.name, "concurrency", _count(key.concurrency, "request") + " at once", _WHEN_BUSY_S
            )
        if key.rpm is not None and (wait := self._requests.room_in(now, key.rpm)):
            raise RateLimitedError(key.name, "rpm", _count(key.rpm, "request") + " per minute", wait)
        if key.tpm is not None and (wait := self._tokens.room_in(now, key.tpm)):
            raise RateLimitedError(key.name, "tpm", _count(key.tpm, "token") + " per minute", wait)
        self.in_flight += 1
        if key.rpm is not None:
            self._requests.add(now, 1)

    def leave(self, key: ApiKey, now: float, tokens: int) -> None:
        """Counts a request's end, with its input and output tokens."""
        self.in_flight -= 1
        if key.tpm is not None and tokens:
            self._tokens.forget(now)
            self._tokens.add(now, tokens)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Reservation:
    """One request of a key with limits. Call `leave` once."""

    __slots__ = ("_clock", "_key", "_traffic")

    def __init__(self, key: ApiKey, traffic: KeyTraffic, clock: Callable[[], float]) -> None:
        traffic.enter(key, clock())
        self._key, self._traffic, self._clock = key, traffic, clock

    def leave(self, tokens: int) -> None:
        self._traffic.leave(self._key, self._clock(), tokens)


class RateLimits:
    """The traffic of every key, by name. A change of the key's row keeps its traffic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._traffic: dict[str, KeyTraffic] = {}

    def reserve(self, key: ApiKey | None) -> Reservation | None:
        """Returns a reservation, or None for a key without limits. Raises RateLimitedError."""
        if key is None or (key.rpm is None and key.tpm is None and key.concurrency is None):
            return None
        traffic = self._traffic.setdefault(key.name, KeyTraffic())
        return Reservation(key, traffic, self._clock)
