"""Sends server-sent events, with a comment after a silence, so that clients do not take it for the end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse

# Seconds
_SILENT_S = 10.0


def event_stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Returns the response. An empty piece of `events` means that there is nothing new."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_commented(events), media_type="text/event-stream", headers=headers)


async def _commented(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    sent = time.monotonic()
    async for event in events:
        if event or time.monotonic() - sent >= _SILENT_S:
            sent = time.monotonic()
            yield event or b": nothing new\n\n"
