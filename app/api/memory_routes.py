"""Shows the use of this machine's memory, by program and engine: `/admin/memory`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api.openapi_errors import ADMIN
from app.scheduler.loop import Scheduler
from app.scheduler.memory_book import MemoryBook


def memory_routes(scheduler: Scheduler, memory: MemoryBook) -> APIRouter:
    """Returns the route."""
    routes = APIRouter()

    @routes.get("/admin/memory", summary="Memory of the host and of each device, by holder", responses=ADMIN)
    async def rows() -> dict[str, Any]:
        await memory.look()
        return {"object": "list", "known": bool(memory.known), "data": memory.fields(scheduler.holding())}

    return routes
