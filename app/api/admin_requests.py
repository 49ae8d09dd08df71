"""`/admin/requests`: what is answered now, what was, and an end to it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from app.api.openapi_errors import ADMIN, Responses, refused
from app.relay.traffic import KEPT, Traffic

_CAPTURE: Responses = {404: refused("No such request, or no bodies of it are kept"), **ADMIN}
RequestName = Annotated[str, Path(description="The `id` of a running request, or its `request_id`.", examples=["17"])]


def request_routes(traffic: Traffic) -> APIRouter:
    """No prompt and no answer is shown: neither is kept."""
    routes = APIRouter(prefix="/admin/requests")

    @routes.get("", summary="The requests that run, and the last that have ended", responses=ADMIN)
    async def requests(
        limit: int = Query(100, ge=0, le=KEPT, description="How many of those that have ended, the newest first."),
    ) -> dict[str, Any]:
        running = [request.fields() for request in traffic.running()]
        return {"object": "list", "data": running, "finished": [request.fields() for request in traffic.last(limit)]}

    @routes.delete(
        "/{request_name:path}",
        summary="Cancel a request; its client is told so",
        responses={404: refused("No such request is being answered"), **ADMIN},
    )
    async def cancel(request_name: RequestName) -> dict[str, Any]:
        return {"object": "list", "data": [request.fields() for request in traffic.cancel(request_name)]}

    @routes.get(
        "/{request_name:path}/capture",
        summary="What a request has asked and got, where `captures` keeps it",
        responses=_CAPTURE,
    )
    async def capture(request_name: RequestName) -> dict[str, Any]:
        """As the engine got and gave it; of a stream the text. Secrets are redacted."""
        request, exchange = traffic.capture(request_name)
        found = await asyncio.to_thread(traffic.captures.shown, exchange)
        bodies = {"sent": found.request, "received": found.response, "cut": found.cut}
        return {"id": str(request.number), "request_id": request.request_id, "request": request.line, **bodies}

    return routes
