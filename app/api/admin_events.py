"""`GET /admin/events`: a snapshot of the gateway and then its changes, for the page and for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from app.api.admin_feed import LOOK_EVERY_S, AdminFeed
from app.api.event_stream import event_stream
from app.api.openapi_errors import ADMIN, Responses

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
        return event_stream(_events(feed, last_event_id, closing))

    return routes


async def _events(feed: AdminFeed, last_id: str, closing: Callable[[], bool]) -> AsyncIterator[bytes]:
    number, first = feed.begin(last_id)
    yield first or b": going on\n\n"
    while not closing():
        await asyncio.sleep(LOOK_EVERY_S)
        number, events = feed.behind(number)
        yield events
