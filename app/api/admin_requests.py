"""`/admin/requests`: lists running and finished requests, and cancels them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from app.api.openapi_errors import ADMIN, Responses, refused
from app.relay.traffic import KEPT, Traffic

_CAPTURE: Responses = {404: refused("No such request, or its bodies are not kept"), **ADMIN}
RequestName = Annotated[str, Path(description="The `id` of a running request, or its `request_id`.", examples=["17"])]


def request_routes(traffic: Traffic) -> APIRouter:
    """Returns the routes. They show no prompts and no answers, except captured ones."""
    routes = APIRouter(prefix="/admin/requests")

    @routes.get("", summary="Running requests, and the last finished ones", responses=ADMIN)
    async def requests(
        limit: int = Query(100, ge=0, le=KEPT, description="Maximum number of finished requests, newest first."),
    ) -> dict[str, Any]:
        running = [request.fields() for request in traffic.running()]
        return {"object": "list", "data": running, "finished": [request.fields() for request in traffic.last(limit)]}

    @routes.delete(
        "/{request_name:path}",
        summary="Cancel a request; its client gets an error",
        responses={404: refused("No such request is running"), **ADMIN},
    )
    async def cancel(request_name: RequestName) -> dict[str, Any]:
        return {"object": "list", "data": [request.fields() for request in traffic.cancel(request_name)]}

    @routes.get(
        "/{request_name:path}/capture",
        summary="The bodies of a request and its answer, if `captures` keeps them",
        responses=_CAPTURE,
    )
    async def capture(request_name: RequestName) -> dict[str, Any]:
        """The bodies as the engine received and sent them, or the text of a stream. Secrets are removed."""
        request, exchange = traffic.capture(request_name)
        found = await asyncio.to_thread(traffic.captures.shown, exchange)
        bodies = {"sent": found.request, "received": found.response, "cut": found.cut}
        return {"id": str(request.number), "request_id": request.request_id, "request": request.line, **bodies}

    return routes
