"""Engines that do not fit into memory together: found out by starts that fail beside others and succeed without them.

A start that fails for want of memory while others of ours are up may succeed once one of them has made room. One that
fails alone is not ours to help: it makes nobody move for a while, unless others have given memory back since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from app.scheduler.snapshot import Misfit

# The codes of a diagnosis that more memory would cure
WANT_OF_MEMORY = frozenset(("device_memory", "host_memory", "memory"))
# How long a failure alone makes nobody move, in seconds: twice as long after each time in vain.
HOPELESS_S, LONGEST_HOPELESS_S = 60.0, 600.0
# More memory than at that failure is worth another try from so much on: bytes, and a share of what there was
_WORTH_A_TRY, _WORTH_A_SHARE = 256 * 2**20, 0.05


@dataclass(frozen=True, slots=True)
class _Hopeless:
    """A start failed with nothing of ours beside it, when there was so much `room` by place in memory."""

    until: float
    lasts: float
    room: Mapping[str, int]

    def over(self, room: Mapping[str, int], now: float) -> bool:
        return now >= self.until or any(
            room.get(place, 0) - size > max(_WORTH_A_TRY, _WORTH_A_SHARE * size) for place, size in self.room.items()
        )


@dataclass(slots=True)
class _Shortage:
    """A start failed while `beside` were up; `leaving` are on their way out for it."""

    beside: frozenset[str]
    leaving: set[str] = field(default_factory=set)
    room_made: bool = False


class Misfits:
    """`known` are those found so far. Times are in seconds, on the caller's clock."""

    def __init__(self) -> None:
        self.known: set[Misfit] = set()
        self._short: dict[str, _Shortage] = {}
        self._hopeless: dict[str, _Hopeless] = {}

    def failed(self, alias: str, code: str, beside: Set[str], room: Mapping[str, int], now: float) -> None:
        """The engine of `alias` went down while `beside` were up; `code` is that of its diagnosis.

        `room` is what all engines of ours could take then, in bytes by place in memory, as far as it is known.
        """
        self._short.pop(alias, None)
        if code not in WANT_OF_MEMORY:
            return
        hopeless = self._hopeless.get(alias)
        if not beside:
            lasts = HOPELESS_S
            if hopeless is not None:
                lasts = min(2 * hopeless.lasts, LONGEST_HOPELESS_S) if hopeless.over(room, now) else hopeless.lasts
            self._hopeless[alias] = _Hopeless(now + lasts, lasts, dict(room))
        elif hopeless is None or hopeless.over(room, now):
            self._short[alias] = _Shortage(frozenset(beside))

    @property
    def short(self) -> Iterable[str]:
        """Those whose start has failed beside others."""
        return self._short

    def wants_memory(self, alias: str) -> bool:
        """Whether others of ours may hold what its start failed for."""
        return alias in self._short

    def room_made(self, alias: str) -> bool:
        """Whether one of those has gone since."""
        return alias in self._short and self._short[alias].room_made

    def drained(self, alias: str, room_for: str) -> None:
        """`alias` was told to make room."""
        if (shortage := self._short.get(room_for)) is not None:
            shortage.leaving.add(alias)

    def gone(self, alias: str) -> None:
        """Its memory is free."""
        for shortage in self._short.values():
            shortage.room_made |= alias in shortage.leaving

    def forget(self, alias: str) -> None:
        """Its next start is its first."""
        self._short.pop(alias, None)
        self._hopeless.pop(alias, None)

    def came_up(self, alias: str, beside: Set[str]) -> None:
        """What has to be away for it is known now."""
        self._hopeless.pop(alias, None)
        shortage = self._short.pop(alias, None)
        if shortage is not None and not shortage.beside <= beside:
            self.known.add(shortage.beside | {alias})
