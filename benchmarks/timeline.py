"""Simulated time: events in order, and the next look of a rule. Nothing here sleeps."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator


class Timeline:
    """`now` is in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._looks_at = math.inf

    def at(self, moment: float, happens: Callable[[], None]) -> None:
        """Adds an event. Those of one moment happen in the order in which they were added."""
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, happens))

    def look_at(self, moment: float) -> None:
        """Adds an event without effect, after which a rule looks again; infinite: none."""
        if moment < math.inf and moment != self._looks_at:
            self._looks_at = moment
            # A hair later, as timers of the gateway are
            self.at(moment + 0.001, lambda: None)

    def run(self) -> Iterator[float]:
        """Lets everything happen; yields the moment of each event after it."""
        while self._events:
            self.now, _, happens = heapq.heappop(self._events)
            happens()
            yield self.now
