"""`GET /admin/events`: a snapshot of the gateway and then its changes, for the page and for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from app.api.admin_feed import LOOK_EVERY_S, AdminFeed
from app.api.openapi_errors import ADMIN, Responses

# Seconds until a comment is sent if nothing changes
_SILENT_S = 10.0
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_EXAMPLE = (
    'id: 5f3a9c01-0\nevent: snapshot\ndata: {"gateway": {}, "engines": {}, "requests": {}, "pulls": {}, '
    '"decisions": {}}\n\nid: 5f3a9c01-1\nevent: change\ndata: {"set": {"engines": {"m": {"alias": "m"}}}}\n\n'
)
_STREAM: Responses = {
    200: {"content": {"text/event-stream": {"example": _EXAMPLE}}},
    **ADMIN,
}
LastEventId = Annotated[str, Header(description="Id of the last event received. Later changes are sent first.")]


def event_routes(feed: AdminFeed, closing: Callable[[], bool]) -> APIRouter:
    """Returns the route. The stream ends when the client leaves, or when `closing` returns true."""
    routes = APIRouter(prefix="/admin")

    @routes.get(
        "/events",
        summary="Follow the gateway: a snapshot, then changes",
        response_class=StreamingResponse,
        responses=_STREAM,
    )
    async def events(last_event_id: LastEventId = "") -> StreamingResponse:
        """At most four events a second. A change has rows to `set` by section and key, keys that are `gone`, and
        requests that have `finished`."""
        stream = _events(feed, last_event_id, closing)
        return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)

    return routes


async def _events(feed: AdminFeed, last_id: str, closing: Callable[[], bool]) -> AsyncIterator[bytes]:
    number, first = feed.begin(last_id)
    yield first or b": going on\n\n"
    silent = 0.0
    while not closing():
        await asyncio.sleep(LOOK_EVERY_S)
        number, events = feed.behind(number)
        silent = 0.0 if events else silent + LOOK_EVERY_S
        if events:
            yield events
        elif silent >= _SILENT_S:
            silent = 0.0
            yield b": nothing new\n\n"
