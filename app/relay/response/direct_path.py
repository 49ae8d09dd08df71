"""Passes a stream's bytes from the engine's socket to the client's in one turn of the event loop, without a task.

A stream takes this path after its head and its first text (forward.py). It leaves the path for a chunk that may hold an
error or ends within an event, for a slow client, after a comment, and at its end. The loop in forward.py handles these,
and the stream may then take the path again.
"""

from __future__ import annotations

from collections.abc import Callable

from app.relay.response.keepalive import StreamKeepalive
from app.relay.response.stream_errors import suspicious
from app.relay.response.usage import UsageTap
from app.relay.response.writer import WriteNow


def direct_path(write_now: WriteNow, keepalive: StreamKeepalive, tap: UsageTap) -> Callable[[bytes], bool]:
    """Returns a function that writes a chunk at once and counts it, or returns False and writes nothing.

    The caller must have written all earlier chunks. The function runs once per token, so it makes few calls.
    """
    feed, now = tap.feed, keepalive.clock

    def take(chunk: bytes) -> bool:
        if keepalive.speaking is not None or suspicious(chunk) or not write_now(chunk):
            return False
        keepalive.last = now()
        feed(chunk)
        return True

    return take
