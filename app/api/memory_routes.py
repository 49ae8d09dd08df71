"""Shows the use of memory, by machine, program and engine: `/admin/memory`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api.openapi_errors import ADMIN
from app.scheduler.loop import Scheduler
from app.scheduler.memory_book import MemoryBook
from app.scheduler.memory_books import MemoryBooks
from app.supervisor.host import LOCAL


def memory_routes(scheduler: Scheduler, memory: MemoryBook, books: MemoryBooks | None) -> APIRouter:
    """Returns the route. `books` are those of all machines, if there is a cluster."""
    routes = APIRouter()

    @routes.get("/admin/memory", summary="Memory of the host and of each device, by holder", responses=ADMIN)
    async def rows() -> dict[str, Any]:
        holding = scheduler.holding()
        if books is not None:
            await books.look()
            data = books.fields(holding)
        else:
            await memory.look()
            data = [{**row, "node": LOCAL} for row in memory.fields(holding)]
        return {"object": "list", "known": bool(memory.known or data), "data": data}

    return routes
