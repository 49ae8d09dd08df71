"""`/admin/engines/ALIAS/...`: an engine's log and its command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app import logs
from app.api.event_stream import event_stream
from app.api.log_routes import encode, log_batches, log_row
from app.api.openapi_errors import ADMIN, Responses, refused
from app.config.model_entry import AttachedEntry
from app.engine.launch import LaunchPlan
from app.errors import AttachedModelError
from app.log_memory import LogEntry, LogMemory
from app.models.catalog import Catalog
from app.planner import Planner
from app.scheduler.loop import Scheduler

_LOG: Responses = {
    200: {
        "content": {
            "application/json": {
                "example": {"object": "list", "data": [{"at": 1.5, "level": "engine", "event": "up"}]}
            },
            "text/event-stream": {"schema": {"type": "string"}},
        }
    },
    404: refused("No such model"),
    **ADMIN,
}
_PLAN: Responses = {
    400: refused("An attached server: the gateway does not start it"),
    404: refused("No such model"),
    503: refused("The start cannot be planned; the message says why"),
    **ADMIN,
}


def engine_view_routes(
    catalog: Catalog,
    scheduler: Scheduler,
    planner: Planner,
    closing: Callable[[], bool],
    memory: LogMemory = logs.memory,
) -> APIRouter:
    """Returns the routes. They accept any name of a model."""
    routes = APIRouter(prefix="/admin/engines")

    @routes.get("/{alias:path}/log", summary="The last lines of an engine's log", responses=_LOG)
    async def log(
        alias: str,
        lines: Annotated[int, Query(ge=0, le=2000, description="Number of lines.")] = 100,
        # Not in the schema: a client that tries each operation would wait for its end
        follow: Annotated[bool, Query(include_in_schema=False)] = False,
    ) -> Response:
        """With `follow=true` a stream of events continues it: each has the new `lines` since the last one."""
        key = catalog.resolve(alias).engine_key
        if follow:
            return event_stream(_events(log_batches(memory, key, lines, lambda: not closing()), memory.newest))
        rows = [log_row(entry) for entry in memory.last(lines, key)]
        return Response(encode({"object": "list", "data": rows}), media_type="application/json")

    @routes.get("/{alias:path}/plan", summary="The command line of an engine", responses=_PLAN)
    async def plan(alias: str) -> dict[str, Any]:
        """The command of the loaded engine, else of the next start. It contains no key."""
        ref = catalog.resolve(alias)
        if isinstance(ref.entry, AttachedEntry):
            raise AttachedModelError(f"'{ref}' is attached at {ref.entry.url}: the gateway does not start or stop it.")
        status = scheduler.status(ref)
        if status.up and status.plan is not None:
            return _planned(status.plan, running=True)
        return _planned(await planner.plan(ref), running=False)

    return routes


def _planned(plan: LaunchPlan, *, running: bool) -> dict[str, Any]:
    notes = [f"{note.key}: {note.text}" for note in plan.notes]
    reasons = [reason for reason in (plan.auto_reason, plan.fallback_reason) if reason]
    return {"alias": plan.alias, "running": running, "command": plan.shell_line(), "notes": notes + reasons}


async def _events(batches: AsyncIterator[list[LogEntry]], newest: int) -> AsyncIterator[bytes]:
    """Yields an event per batch, also for an empty first one. `newest` is the number of the log's last line."""
    first = True
    async for entries in batches:
        newest = entries[-1].number if entries else newest
        rows = encode({"lines": [log_row(entry) for entry in entries]})
        yield f"id: {newest}\nevent: lines\ndata: ".encode() + rows + b"\n\n" if entries or first else b""
        first = False
