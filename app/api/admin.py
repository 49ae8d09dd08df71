"""`/admin`: what a person who runs this gateway asks it."""

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
    """Everything below `/admin`."""
    routes = APIRouter(prefix="/admin")

    @routes.get("/aliases/{alias:path}/speculation", deprecated=True, include_in_schema=False)
    @routes.get(
        "/models/{alias:path}/speculation",
        summary="What decodes now, what the next cold start would, and why",
        responses={404: refused("No such alias"), **ADMIN},
    )
    async def speculation(alias: str) -> dict[str, Any]:
        name = catalog.canonical(alias)
        engine = scheduler.status(name)
        loaded = engine.speculation
        now = loaded or Status(catalog.requested(name))
        if isinstance(catalog.entry(name), AttachedEntry):
            return {
                "alias": name,
                **now.fields(),
                "reason": "an attached server decides for itself",
                "why": "",
                "next_start": None,
            }
        choice = await asyncio.to_thread(planner.choice, name)
        plan = engine.plan if loaded else None
        # What was chosen by the figures of then; where nothing was chosen, the entry says it now as before.
        why = (plan.why or choice.why) if plan else ""
        return {"alias": name, **now.fields(), "why": why, "next_start": choice.fields()}

    return routes
