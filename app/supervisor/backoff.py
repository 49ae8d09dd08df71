"""How long an engine that has failed is left alone. Pure; moments are on the caller's clock."""

from __future__ import annotations

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0
# Of failures after an engine that worked: the first starts again without a delay.
_WORKED = -1


class Backoff:
    """A second after the first failure, twice as long after each more, a minute at most."""

    def __init__(self) -> None:
        # When a start may be tried again
        self.until = 0.0
        # In a row
        self._failures = 0

    def worked(self) -> None:
        """What happened before no longer counts."""
        self._failures = _WORKED

    def forget(self) -> None:
        """As if it had never been started."""
        self._failures = 0

    def failed(self, now: float) -> None:
        self._failures += 1
        # The exponent is bounded, since an engine may fail for days.
        delay = min(FIRST_BACKOFF_S * 2 ** min(self._failures - 1, 20), LONGEST_BACKOFF_S) if self._failures else 0.0
        self.until = now + delay
