"""Shows and controls the gateway's engines: `/admin/engines`, verbs, decisions."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.api.live import LiveFigures
from app.api.openapi_errors import ADMIN, Responses, refused
from app.config.model_entry import AttachedEntry
from app.errors import AttachedModelError, PathNotFoundError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.scheduler.loop import Scheduler

VERBS = ("load", "unload", "pin", "unpin", "reset")
# Seconds. A load that fails sooner is an error in the response, with `wait` or without.
_AT_ONCE_S = 1.0
_ENGINE: Responses = {
    400: refused("An attached server: the gateway does not start or stop it"),
    404: refused("No such model or action"),
    503: refused("The model cannot be loaded; the message has the diagnosis"),
    **ADMIN,
}


class LoadRequest(BaseModel):
    """The body of llama-server's router."""

    model: str


class EngineActions:
    """Runs actions on a model under any of its names. Raises UnknownAliasError and AttachedModelError."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler) -> None:
        self._catalog = catalog
        self._scheduler = scheduler

    async def act(self, name: str, verb: str, *, now: bool, wait: bool) -> dict[str, Any]:
        """Returns the engine's status afterwards. Without `wait`, a load or an unload may still continue."""
        ref, verbs = self._engine(name), self._scheduler.verbs
        match verb:
            case "load":
                await self._load(ref, wait)
            case "unload":
                verbs.unload(ref, now=now)
                if wait:
                    await verbs.unloaded(ref)
            case "pin" | "unpin":
                verbs.pin(ref, verb == "pin")
            case "reset":
                await verbs.reset(ref)
            case _:
                raise PathNotFoundError(f"Unknown action '{verb}'. Use {', '.join(VERBS)}.")
        return self._scheduler.status(ref).fields()

    def _engine(self, name: str) -> ModelRef:
        ref = self._catalog.resolve(name)
        if isinstance(ref.entry, AttachedEntry):
            raise AttachedModelError(f"'{ref}' is attached at {ref.entry.url}: the gateway does not start or stop it.")
        return ref

    async def _load(self, ref: ModelRef, wait: bool) -> None:
        loading = asyncio.ensure_future(self._scheduler.verbs.load(ref))
        done, _ = await asyncio.wait({loading}, timeout=None if wait else _AT_ONCE_S)
        if done:
            loading.result()
        else:
            # The scheduler continues the load, and logs a failure
            loading.cancel()


def engine_routes(catalog: Catalog, scheduler: Scheduler, live: LiveFigures) -> APIRouter:
    """Returns the routes below `/admin`, and those of llama-server's router. They need an admin key."""
    routes = APIRouter()
    verbs = EngineActions(catalog, scheduler)

    @routes.get("/admin/engines", summary="All engines and their states", responses=ADMIN)
    async def engines() -> dict[str, Any]:
        rows = [engine.fields() | live.engine(engine) for engine in scheduler.statuses()]
        return {"object": "list", "data": rows}

    @routes.get("/admin/decisions", summary="The last 200 decisions about engines, newest first", responses=ADMIN)
    async def decisions() -> dict[str, Any]:
        return {"object": "list", "data": [decision.fields() for decision in scheduler.decisions]}

    @routes.post(
        "/admin/models/{alias:path}/{verb}",
        summary="load, unload, pin, unpin or reset a model",
        responses=_ENGINE,
    )
    async def act(
        alias: str,
        verb: str,
        now: bool = Query(False, description="For unload: interrupt running requests."),
        wait: bool = Query(False, description="For load and unload: respond when it is done."),
    ) -> dict[str, Any]:
        return await verbs.act(alias, verb, now=now, wait=wait)

    for verb in ("load", "unload"):
        _conventional(routes, verbs, verb)
    return routes


def _conventional(routes: APIRouter, verbs: EngineActions, verb: str) -> None:
    """Adds llama-server's route. An action that was done already is a success, too."""

    @routes.post(f"/v1/models/{verb}", include_in_schema=False)
    @routes.post(f"/models/{verb}", summary=f"{verb} a model, as llama-server's router does", responses=_ENGINE)
    async def act(request: LoadRequest) -> dict[str, Any]:
        await verbs.act(request.model, verb, now=False, wait=False)
        return {"success": True}
