"""Delays the restart of an engine that has failed. Pure; moments are on the caller's clock."""

from __future__ import annotations

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0
# Delays after failures in a row. The first failure of an engine that has worked is retried without a delay.
_WORKED = -1


class Backoff:
    """The delay is a second after the first failure, twice as long after each further one, a minute at most."""

    def __init__(self) -> None:
        # The moment from which a start may be tried again
        self.until = 0.0
        # Failures in a row
        self._failures = 0

    def worked(self) -> None:
        """Forgets failures, since the engine has worked."""
        self._failures = _WORKED

    def forget(self) -> None:
        """Resets to the state before the first start."""
        self._failures = 0

    def spare(self, now: float) -> None:
        """Ends the delay: the last failure was not the engine's, and does not count."""
        self.until = now

    def failed(self, now: float) -> None:
        self._failures += 1
        # The exponent is bounded, since an engine may fail for days.
        delay = min(FIRST_BACKOFF_S * 2 ** min(self._failures - 1, 20), LONGEST_BACKOFF_S) if self._failures else 0.0
        self.until = now + delay
