"""`/admin`: the admin endpoints, and what `auto` chooses for a model."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from app.api.openapi_errors import ADMIN, refused
from app.config.model_entry import AttachedEntry
from app.models.catalog import Catalog
from app.planner import Planner
from app.scheduler.loop import Scheduler
from app.speculation.status import Status


def admin_routes(catalog: Catalog, scheduler: Scheduler, planner: Planner) -> APIRouter:
    """Returns the route about a model's speculation."""
    routes = APIRouter(prefix="/admin")

    @routes.get("/aliases/{alias:path}/speculation", deprecated=True, include_in_schema=False)
    @routes.get(
        "/models/{alias:path}/speculation",
        summary="The speculation mode now and at the next cold start, with reasons",
        responses={
            404: refused("No such alias"),
            503: refused("The start cannot be planned; the message says why"),
            **ADMIN,
        },
    )
    async def speculation(alias: str) -> dict[str, Any]:
        ref = catalog.resolve(alias)
        name, engine = ref.name, scheduler.status(ref)
        loaded = engine.speculation
        now = loaded or Status(ref.requested_mode)
        if isinstance(ref.entry, AttachedEntry):
            return {
                "alias": name,
                **now.fields(),
                "reason": "an attached server decides for itself",
                "why": "",
                "next_start": None,
                "figures": {},
            }
        choice = await asyncio.to_thread(planner.choice, ref)
        plan = engine.plan if loaded else None
        # A choice has the reason of its time. Without a choice the reason is the entry.
        auto_reason = (plan.auto_reason or choice.auto_reason) if plan else ""
        figures = choice.figures or await asyncio.to_thread(planner.figures, ref)
        fields = {"why": auto_reason, "next_start": choice.fields(), "figures": figures}
        return {"alias": name, **now.fields(), **fields}

    return routes
