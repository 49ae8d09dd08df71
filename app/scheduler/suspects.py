"""Detects requests that crash their engine, so that one client cannot take a model from all others.

A body is refused for a while after two crashes in a row at which it was the only request, without an answer in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

DEATHS, REFUSED_FOR_S = 2, 300.0
# Refused bodies per alias; the oldest is dropped first.
_KEPT = 64


@dataclass(slots=True)
class _Suspicions:
    """The suspicions of one alias: the only body at the last `deaths` crashes, and the end of each refusal."""

    last: bytes | None = None
    deaths: int = 0
    refused_until: dict[bytes, float] = field(default_factory=dict)


class Suspects:
    """Suspicious bodies by alias, stored as hashes. Times are in seconds, on the caller's clock."""

    def __init__(self) -> None:
        self._known: dict[str, _Suspicions] = {}

    def died(self, alias: str, bodies: Sequence[bytes | None], now: float) -> None:
        """Records that the engine of `alias` crashed while it answered `bodies`, or idle."""
        known = self._known.setdefault(alias, _Suspicions())
        alone = bodies[0] if len(bodies) == 1 else None
        if alone is None:
            # No request was alone at this crash, so earlier crashes no longer count as a row.
            known.last = None
            return
        key = _hash(alone)
        known.deaths = known.deaths + 1 if key == known.last else 1
        known.last = key
        if known.deaths >= DEATHS:
            known.refused_until.pop(key, None)
            known.refused_until[key] = now + REFUSED_FOR_S
        if len(known.refused_until) > _KEPT:
            del known.refused_until[next(iter(known.refused_until))]

    def answered(self, alias: str, body: bytes | None) -> None:
        """Clears a body that was answered."""
        known = self._known.get(alias)
        if known is None or (known.last is None and not known.refused_until):
            return
        key = _hash(body)
        known.refused_until.pop(key, None)
        if key == known.last:
            known.last = None

    def forget(self, alias: str) -> None:
        """Clears all suspicions of `alias`."""
        self._known.pop(alias, None)

    def refused_for(self, alias: str, body: bytes | None, now: float) -> float:
        """Seconds for which `body` is still refused; 0 if it is not."""
        known = self._known.get(alias)
        until = known.refused_until.get(_hash(body), 0.0) if known and known.refused_until else 0.0
        return max(0.0, until - now)


def _hash(body: bytes | None) -> bytes:
    return hashlib.sha256(body or b"").digest()
