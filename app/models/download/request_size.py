"""How many blocks one request asks for. Pure.

Short requests bring a file almost in its order, so that the hash takes its bytes from memory; but each begins with a
wait for its first byte, and over a long way only long ones are worth that.
"""

from __future__ import annotations

import math
from collections import deque

# In blocks. The longest are 64 MiB, so that a dropped connection or an expired address is soon met again.
SHORTEST, LONGEST = 2, 16
# Of a request's time, what may be waiting.
_WAITING = 0.1
# Requests whose shortest wait is taken for the way's: a busy machine makes single ones longer.
_REMEMBERED = 16


class Pace:
    """Of one connection; `length` is for its next request."""

    def __init__(self) -> None:
        self.length = SHORTEST
        self._waits: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, length: int, waited: float, took: float) -> None:
        """A request of so many blocks waited so many seconds for its first bytes, and took so many in all."""
        self._waits.append(waited)
        receiving, wait = max(took - waited, 1e-6), min(self._waits)
        enough = math.ceil(length * wait / receiving * (1 - _WAITING) / _WAITING)
        self.length = max(SHORTEST, min(enough, 2 * self.length, LONGEST))
