"""Engines that do not fit into memory together, learned from starts that fail beside others and succeed without them.

A start that runs out of memory beside other engines may succeed once one of them is unloaded. A start that fails alone
cannot be helped: for a while no engine is unloaded for it, unless memory has become free since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from app.scheduler.snapshot import Misfit

# Codes of diagnoses that more memory would fix
WANT_OF_MEMORY = frozenset(("device_memory", "host_memory", "memory"))
# Seconds in which no engine is unloaded after a failure alone; doubled after each further failure.
HOPELESS_S, LONGEST_HOPELESS_S = 60.0, 600.0
# Another try needs more memory than at that failure: at least so many bytes, and this share of the old size
_WORTH_A_TRY, _WORTH_A_SHARE = 256 * 2**20, 0.05


@dataclass(frozen=True, slots=True)
class _Hopeless:
    """A start that failed with no other engine beside it; `room` was free then, in bytes by place in memory."""

    until: float
    lasts: float
    room: Mapping[str, int]

    def over(self, room: Mapping[str, int], now: float) -> bool:
        return now >= self.until or any(
            room.get(place, 0) - size > max(_WORTH_A_TRY, _WORTH_A_SHARE * size) for place, size in self.room.items()
        )


@dataclass(slots=True)
class _Shortage:
    """A start that failed while `beside` were up; `leaving` are being unloaded for it."""

    beside: frozenset[str]
    leaving: set[str] = field(default_factory=set)
    room_made: bool = False


class Misfits:
    """`known` are the misfits found so far. Times are in seconds, on the caller's clock."""

    def __init__(self) -> None:
        self.known: set[Misfit] = set()
        self._short: dict[str, _Shortage] = {}
        self._hopeless: dict[str, _Hopeless] = {}

    def failed(self, alias: str, code: str, beside: Set[str], room: Mapping[str, int], now: float) -> None:
        """Records that the engine of `alias` failed while `beside` were up; `code` is that of its diagnosis.

        `room` is the memory for all engines at that moment, in bytes by place, as far as it is known.
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
        """The aliases whose start has failed beside others."""
        return self._short

    def wants_memory(self, alias: str) -> bool:
        """Whether other engines may hold the memory that its start lacked."""
        return alias in self._short

    def room_made(self, alias: str) -> bool:
        """Whether one of those engines has gone since, whatever ended it."""
        return alias in self._short and self._short[alias].room_made

    def drained(self, alias: str, room_for: str) -> None:
        """Records that `alias` is being unloaded for `room_for`."""
        if (shortage := self._short.get(room_for)) is not None:
            shortage.leaving.add(alias)

    def gone(self, alias: str) -> None:
        """Records that the memory of `alias` is free."""
        for shortage in self._short.values():
            shortage.room_made |= alias in shortage.leaving or alias in shortage.beside

    def forget(self, alias: str) -> None:
        """Forgets the failures of `alias`: its next start counts as its first."""
        self._short.pop(alias, None)
        self._hopeless.pop(alias, None)

    def came_up(self, alias: str, beside: Set[str]) -> None:
        """Records a successful start. If engines of its last failure are away, they and `alias` become a misfit."""
        self._hopeless.pop(alias, None)
        shortage = self._short.pop(alias, None)
        if shortage is not None and not shortage.beside <= beside:
            self.known.add(shortage.beside | {alias})
