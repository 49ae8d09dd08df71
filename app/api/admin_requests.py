"""`/admin/requests`: what is answered now, what was, and an end to it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from app.api.openapi_errors import ADMIN, refused
from app.relay.traffic import KEPT, Traffic

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

    return routes
