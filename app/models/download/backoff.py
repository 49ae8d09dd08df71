"""Computes the wait before the next attempt. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Attempts without progress before a request fails. The waits between them are 31 s on average.
TRIES = 7
_FIRST_S, _LONGEST_S = 1.0, 30.0
# If a server asks for a longer wait, the pull fails at once, so that the user learns of it.
LONGEST_RETRY_AFTER_S = 600.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


def delay(attempt: int, retry_after: float | None, random: Callable[[], float]) -> float:
    """Returns the seconds before attempt `attempt` + 1.

    `random` returns [0, 1). The server's Retry-After is a lower limit.
    """
    most = min(_LONGEST_S, _FIRST_S * 2.0 ** (attempt - 1))
    jittered = most * (0.5 + random() / 2)
    return jittered if retry_after is None else retry_after + random() * min(1.0, retry_after / 10)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Returns a Retry-After header in seconds, from a number or a date (RFC 9110, 10.2.3), or None if it is invalid."""
    if value is None:
        return None
    text = value.strip()
    with suppress(ValueError):
        return max(0.0, seconds) if math.isfinite(seconds := float(text)) else None
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
