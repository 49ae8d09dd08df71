"""Estimates how often an engine is used, from the moments of its past requests. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Seconds over which requests are counted: a conversation, a task, an hour, a day. Together they weigh a request by
# about the inverse of its age, so both a recent request and many old ones count.
SPANS_S = (60.0, 600.0, 6_000.0, 60_000.0)
# Requests within so many seconds count as one: a single load would serve them all
_TOGETHER_S = 5.0
# Within the shortest span the inverse of the last request's age counts, with the weight that it has beyond
_SHORT, _LEAST_S = 0.4, 0.01


@dataclass(frozen=True, slots=True)
class Demand:
    """The requests up to the moment `at`. Each count is the number of requests, weighted by their age in one span."""

    at: float = -math.inf
    counts: tuple[float, ...] = (0.0,) * len(SPANS_S)

    def asked(self, now: float) -> Demand:
        """The demand after a request at `now`."""
        gap = now - self.at
        one = -math.expm1(-gap / _TOGETHER_S)
        return Demand(now, tuple(n * math.exp(-gap / span) + one for n, span in zip(self.counts, SPANS_S, strict=True)))

    def rate(self, now: float) -> float:
        """The expected uses per second from `now` on; 0 for an engine that was never used."""
        return max(self._mean(now), _SHORT / max(now - self.at, _LEAST_S))

    def is_steady(self, seconds: float) -> bool:
        """Whether after the last request another one was expected within `seconds`; true without any request."""
        return self.at == -math.inf or self._mean(self.at) * seconds >= 1

    def _mean(self, now: float) -> float:
        gap = now - self.at
        return sum(n * math.exp(-gap / span) / span for n, span in zip(self.counts, SPANS_S, strict=True))


UNUSED = Demand()
