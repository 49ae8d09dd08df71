"""The lease of a node: without beats from the gateway for a while, all engines of the node are killed.

A gateway that is cut off has given the node up and has started its engines elsewhere. The lease runs in a thread of its
own, since a hung event loop must not keep engines alive, and by the monotonic clock.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class NodeLease:
    """Kills process groups once `seconds` have passed since the last beat. Runs until `close`."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        # Changed under the lock
        self._lock = threading.Condition()
        self._groups: set[int] = set()
        self._ends = clock() + seconds
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="lease", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Renews the lease."""
        with self._lock:
            self._ends = self._clock() + self.seconds

    def guard(self, group: int) -> None:
        """Kills this group too."""
        with self._lock:
            self._groups.add(group)
            self._lock.notify()

    def release(self, group: int) -> None:
        """Leaves a group alone, since it is gone, and its number may be another's."""
        with self._lock:
            self._groups.discard(group)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify()
        self._thread.join()

    def _watch(self) -> None:
        with self._lock:
            while not self._closed:
                left = self._ends - self._clock()
                if not self._groups or left > 0:
                    self._lock.wait(left if self._groups else None)
                    continue
                for group in self._groups:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(group, signal.SIGKILL)
                self._groups.clear()
