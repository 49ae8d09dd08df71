"""`GET /admin/history`: figures of each minute of the last thirty days."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.openapi_errors import ADMIN, refused
from app.models.catalog import Catalog
from app.records.database import Database
from app.records.history import MOST_ROWS, minutes

Alias = Annotated[str | None, Query(description="Model (default: all).")]
Since = Annotated[float, Query(ge=0, le=1e11, description="Seconds since the epoch.", examples=[1764235080])]


def history_routes(catalog: Catalog, database: Database) -> APIRouter:
    """Returns the route. It reads the database in a thread."""
    routes = APIRouter(prefix="/admin")

    @routes.get(
        "/history",
        summary="Figures of each minute, newest first",
        description=f"Counts answers of this gateway's engines. At most {MOST_ROWS} rows of the last thirty days.",
        responses={404: refused("No such model"), **ADMIN},
    )
    async def history(alias: Alias = None, since: Since = 0.0) -> dict[str, Any]:
        key = catalog.resolve(alias).engine_key if alias is not None else ""
        return {"object": "list", "data": await asyncio.to_thread(minutes, database, key, since)}

    return routes
