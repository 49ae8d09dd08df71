"""Lists the nodes of the cluster: `/admin/nodes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from app.api.openapi_errors import ADMIN


def node_routes(nodes: Callable[[], dict[str, Any] | None]) -> APIRouter:
    """Returns the route. `nodes` returns None without a cluster."""
    routes = APIRouter()

    @routes.get("/admin/nodes", summary="Nodes of the cluster, and why some take no engines", responses=ADMIN)
    async def rows() -> dict[str, Any]:
        return {"object": "list", "address": None, "trouble": "", "data": []} | (nodes() or {})

    return routes
