"""`/admin/pulls`: start, list, follow and cancel the gateway's pulls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from app.api.openapi_errors import ADMIN, Responses, refused
from app.api.pull_schemas import PullList, PullView, StartPull, view
from app.config.settings import Settings
from app.models.download.pull_item import items_by
from app.pulls.pull import Pull, PullState
from app.pulls.registry import Pulls

# Seconds between events for followers, and seconds to wait for the end of a cancelled pull.
_FOLLOW_EVERY_S = 1.0
_STOP_S = 5.0
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

PullId = Annotated[str, Path(description="The id that `POST /admin/pulls` returned.")]
_ONE: Responses = {404: refused("No such pull"), **ADMIN}
_START: Responses = {
    400: refused("The request is invalid"),
    404: refused("No such alias"),
    503: refused("The gateway is shutting down"),
    **ADMIN,
}
_EVENTS: Responses = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **_ONE}


def pull_routes(settings: Callable[[], Settings], pulls: Pulls) -> APIRouter:
    """Returns the routes. `settings` returns the current settings."""
    routes = APIRouter(prefix="/admin/pulls", tags=["pulls"])

    @routes.post("", status_code=202, responses=_START)
    async def start(request: StartPull, response: Response) -> PullView:
        """Start a pull, or join a running one of the same files."""

        files = tuple(items_by(settings(), [request.name], request.include))
        pull = pulls.start(request.name, files, update=request.update)
        response.headers["Location"] = f"/admin/pulls/{pull.id}"
        return view(pull)

    @routes.get("", responses=ADMIN)
    async def every() -> PullList:
        """List running pulls, and the last finished ones."""
        return PullList(data=[view(pull) for pull in pulls.all()])

    @routes.get("/{pull_id}", responses=_ONE)
    async def one(pull_id: PullId) -> PullView:
        """Get the current state of a pull."""
        return view(pulls.get(pull_id))

    @routes.get("/{pull_id}/events", response_class=StreamingResponse, responses=_EVENTS)
    async def follow(pull_id: PullId) -> StreamingResponse:
        """Follow a pull. Each event has the pull's current state, the last one its end."""
        events = _events(pulls.get(pull_id))
        return StreamingResponse(events, media_type="text/event-stream", headers=_STREAM_HEADERS)

    @routes.delete("/{pull_id}", responses=_ONE)
    async def cancel(pull_id: PullId) -> PullView:
        """Cancel a pull. The received bytes are kept. A finished pull is not changed."""
        pull = pulls.get(pull_id)
        pull.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(pull.over(), _STOP_S)
        return view(pull)

    return routes


async def _events(pull: Pull) -> AsyncIterator[str]:
    last = None
    while True:
        ended, now = pull.state is not PullState.RUNNING, view(pull)
        # Without changes a comment is sent, so that clients do not assume the end
        yield f"data: {now.model_dump_json()}\n\n" if now != last else ": nothing new\n\n"
        if ended:
            return
        last = now
        with suppress(TimeoutError):
            await asyncio.wait_for(pull.over(), _FOLLOW_EVERY_S)
