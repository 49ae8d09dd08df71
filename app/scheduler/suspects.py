"""Requests that may be what kills their engine: one client must not take a model from all.

A body that was alone in its engine at two deaths in a row, and was not answered in between, is refused for a while.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

DEATHS, REFUSED_FOR_S = 2, 300.0
# Of one alias; the oldest goes first.
_KEPT = 64


@dataclass(slots=True)
class _Suspicions:
    """Of one alias: the body that was alone at the `deaths` last ones, and until when which bodies are refused."""

    last: bytes | None = None
    deaths: int = 0
    refused_until: dict[bytes, float] = field(default_factory=dict)


class Suspects:
    """By alias and body, of which a hash is kept. Times are in seconds, on the caller's clock."""

    def __init__(self) -> None:
        self._known: dict[str, _Suspicions] = {}

    def died(self, alias: str, bodies: Sequence[bytes | None], now: float) -> None:
        """The engine of `alias` died while it answered `bodies`, or idle."""
        known = self._known.setdefault(alias, _Suspicions())
        alone = bodies[0] if len(bodies) == 1 else None
        if alone is None:
            # Whatever it was, it was no request that was alone: those before are not two in a row.
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
        """It kills nobody."""
        known = self._known.get(alias)
        if known is None or (known.last is None and not known.refused_until):
            return
        key = _hash(body)
        known.refused_until.pop(key, None)
        if key == known.last:
            known.last = None

    def forget(self, alias: str) -> None:
        """Nothing that was asked of it has killed it."""
        self._known.pop(alias, None)

    def refused_for(self, alias: str, body: bytes | None, now: float) -> float:
        """Seconds for which `body` is refused; 0 if it is not."""
        known = self._known.get(alias)
        until = known.refused_until.get(_hash(body), 0.0) if known and known.refused_until else 0.0
        return max(0.0, until - now)


def _hash(body: bytes | None) -> bytes:
    return hashlib.sha256(body or b"").digest()
