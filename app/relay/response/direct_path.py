"""The short way of a stream: from the engine's socket to the client's in one turn of the loop, with no task woken.

Taken once a stream's head and its first text have passed (forward.py). Left for a chunk that may hold an error or ends
within an event, for a client that reads too slowly, behind a comment, and at the stream's end: the loop in forward.py
deals with these, and the stream may come back here behind them.
"""

from __future__ import annotations

from collections.abc import Callable

from app.relay.response.keepalive import StreamKeepalive
from app.relay.response.stream_errors import suspicious
from app.relay.response.usage import UsageTap
from app.relay.response.writer import WriteNow


def direct_path(write_now: WriteNow, keepalive: StreamKeepalive, tap: UsageTap) -> Callable[[bytes], bool]:
    """Passes a chunk on, at once, and counts it; it gives False for one that is not for this way.

    The caller has passed on all that came before. It is called once a token, so it is one frame with few below.
    """
    feed, now = tap.feed, keepalive.clock

    def take(chunk: bytes) -> bool:
        if keepalive.speaking is not None or suspicious(chunk) or not write_now(chunk):
            return False
        keepalive.last = now()
        feed(chunk)
        return True

    return take
