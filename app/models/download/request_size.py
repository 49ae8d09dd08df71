"""Chooses how many blocks one request asks for. Pure.

Short requests arrive nearly in file order, so the hash finds its bytes in memory. But each request waits for its first
byte, so on a slow route only long requests are worthwhile.
"""

from __future__ import annotations

import math
from collections import deque

# In blocks. The limit of 64 MiB bounds the cost of a dropped connection or an expired URL.
SHORTEST, LONGEST = 2, 16
# The share of a request's time that may be waiting.
_WAITING = 0.1
# Requests whose shortest wait counts as the route's. A busy machine prolongs single waits.
_REMEMBERED = 16


class RequestSizer:
    """Measures one connection. `length` is the size of its next request."""

    def __init__(self) -> None:
        self.length = SHORTEST
        self._waits: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, length: int, waited: float, took: float) -> None:
        """Records a request of so many blocks: seconds until its first bytes, and in all."""
        self._waits.append(waited)
        receiving, wait = max(took - waited, 1e-6), min(self._waits)
        enough = math.ceil(length * wait / receiving * (1 - _WAITING) / _WAITING)
        self.length = max(SHORTEST, min(enough, 2 * self.length, LONGEST))
