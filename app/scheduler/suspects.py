"""Requests that may be what kills their engine: one client must not take a model from all.

A body that was alone in its engine at two deaths in a row, and was not answered in between, is refused for a while.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

DEATHS, REFUSED_FOR_S = 2, 300.0
# Of one alias; the oldest goes first.
_KEPT = 64


@dataclass(slots=True)
class _Suspect:
    deaths: int = 0
    refused_until: float = 0.0


class Suspects:
    """By alias and body, of which a hash is kept. Times are in seconds, on the caller's clock."""

    def __init__(self) -> None:
        self._known: dict[str, OrderedDict[bytes, _Suspect]] = {}

    def died(self, alias: str, bodies: Sequence[bytes | None], now: float) -> None:
        """The engine of `alias` died while it answered `bodies`."""
        known = self._known.setdefault(alias, OrderedDict())
        if len(bodies) != 1:
            # Any of them may have done it, so none has done it twice in a row alone.
            for body in bodies:
                known.pop(_hash(body), None)
            return
        if bodies[0] is None:
            return
        key = _hash(bodies[0])
        suspect = known.setdefault(key, _Suspect())
        known.move_to_end(key)
        suspect.deaths += 1
        if suspect.deaths >= DEATHS:
            suspect.refused_until = now + REFUSED_FOR_S
        if len(known) > _KEPT:
            known.popitem(last=False)

    def answered(self, alias: str, body: bytes | None) -> None:
        """It kills nobody."""
        if known := self._known.get(alias):
            known.pop(_hash(body), None)

    def forget(self, alias: str) -> None:
        """Nothing that was asked of it has killed it."""
        self._known.pop(alias, None)

    def refused_for(self, alias: str, body: bytes | None, now: float) -> float:
        """Seconds for which `body` is refused; 0 if it is not."""
        known = self._known.get(alias)
        suspect = known.get(_hash(body)) if known else None
        return max(0.0, suspect.refused_until - now) if suspect else 0.0


def _hash(body: bytes | None) -> bytes:
    return hashlib.sha256(body or b"").digest()
