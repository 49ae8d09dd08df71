"""Keeps the oldest wait of each alias in order between decisions. A decision reads only the beginning. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import count, islice

from app.scheduler.snapshot import Wait


class WaitingLine:
    """Waits in order: overdue ones by age, then the others by priority, and by age within a priority."""

    def __init__(self, waits: Iterable[Wait] = ()) -> None:
        # The number orders waits that began at the same moment
        self._numbers = count()
        self._waits: dict[str, tuple[int, Wait]] = {}
        self._by_age: list[tuple[float, int, Wait]] = []
        self._by_rank: list[tuple[int, float, int, Wait]] = []
        for wait in sorted(waits, key=lambda wait: wait.since):
            if wait.alias not in self._waits:
                self.put(wait)

    @classmethod
    def of(cls, waits: Iterable[Wait]) -> WaitingLine:
        """Returns `waits` itself if it is a line already."""
        return waits if isinstance(waits, cls) else cls(waits)

    def __len__(self) -> int:
        return len(self._waits)

    def __contains__(self, alias: str) -> bool:
        return alias in self._waits

    def __iter__(self) -> Iterator[Wait]:
        return (wait for _, wait in self._waits.values())

    def put(self, wait: Wait) -> None:
        """Replaces the wait of the same alias."""
        known = self._waits.get(wait.alias)
        if known is not None and known[1] == wait:
            return
        self.drop(wait.alias)
        number = next(self._numbers)
        self._waits[wait.alias] = number, wait
        insort(self._by_age, (wait.since, number, wait))
        insort(self._by_rank, (-wait.priority, wait.since, number, wait))

    def drop(self, alias: str) -> None:
        """Removes the wait of `alias`, if it has one."""
        if (known := self._waits.pop(alias, None)) is not None:
            number, wait = known
            del self._by_age[bisect_left(self._by_age, (wait.since, number))]
            del self._by_rank[bisect_left(self._by_rank, (-wait.priority, wait.since, number))]

    def in_order(self, overdue: float) -> Iterator[Wait]:
        """Yields waits that began at `overdue` or before, then all others."""
        late = bisect_right(self._by_age, (overdue, math.inf))
        yield from (wait for _, _, wait in islice(self._by_age, late))
        yield from (wait for _, since, _, wait in self._by_rank if since > overdue)

    def among(self, aliases: Iterable[str], overdue: float) -> list[Wait]:
        """Returns the waits of `aliases` in the same order as `in_order`. The cost depends on their number alone."""
        known = [self._waits[alias] for alias in aliases if alias in self._waits]
        known.sort(key=lambda each: (_rank(each[1], overdue), each[0]))
        return [wait for _, wait in known]

    def since_after(self, moment: float) -> float:
        """The beginning of the oldest wait that began after `moment`; infinite without any."""
        at = bisect_right(self._by_age, (moment, math.inf))
        return self._by_age[at][0] if at < len(self._by_age) else math.inf


def _rank(wait: Wait, overdue: float) -> tuple[bool, int, float]:
    late = wait.since <= overdue
    return not late, 0 if late else -wait.priority, wait.since
