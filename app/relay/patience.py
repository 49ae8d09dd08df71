"""How long a client is asked to wait before it tries again. Pure, but for the clock that a date is measured by."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime

# openai-python does not retry at all when it is asked to wait for longer.
LONGEST_RETRY_AFTER_S = 120
# OpenAI's SDKs look at the one in milliseconds first.
_MOST = {b"retry-after": LONGEST_RETRY_AFTER_S, b"retry-after-ms": LONGEST_RETRY_AFTER_S * 1000}


def patient(name: bytes, value: bytes) -> bytes:
    """The value of an upstream's header, one that asks for patience shortened to what clients have."""
    most = _MOST.get(name)
    return value if most is None else b"%d" % math.ceil(min(max(0.0, _wait(value)), most))


def _wait(value: bytes) -> float:
    """A number, or a date in its place (RFC 9110); anything else is for ever."""
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(value.decode("latin-1")).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, IndexError):
        return math.inf
