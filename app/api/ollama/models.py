"""Ollama's endpoints about models: `/api/tags`, `/api/show`, `/api/ps`, `/api/version`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from app.api.models import ModelRows
from app.api.ollama.request import model_of
from app.auth.guard import may_use
from app.models.catalog import Catalog
from app.models.gguf.in_words import parameters_in_words, quantization_in_words
from app.relay.request.body import read_body
from app.relay.request.scope import declared_length
from app.scheduler.engine_status import EngineStatus
from app.scheduler.loop import Scheduler
from app.supervisor.states import EngineState
from app.tuning import memory

# The Ollama release of this API: clients refuse older ones.
SPOKEN = "0.12.0"
# Ollama's own for "never"
_NEVER = "0001-01-01T00:00:00Z"


def ollama_routes(catalog: Catalog, rows: ModelRows, scheduler: Scheduler, *, max_body: Callable[[], int]) -> APIRouter:
    """Returns the routes of Ollama's API that load nothing. `max_body` returns bytes."""
    routes = APIRouter(prefix="/api")

    @routes.get("/hello", include_in_schema=False)
    @routes.get("/version", summary="The version of Ollama's API")
    async def version() -> dict[str, str]:
        return {"version": SPOKEN}

    @routes.get("/tags", summary="Models in Ollama's format")
    async def tags(request: Request) -> dict[str, Any]:
        return {"models": [_listed(rows, row) for row in await rows.listed(may=may_use(request.scope))]}

    @routes.get("/ps", summary="Loaded models in Ollama's format")
    async def running(request: Request) -> dict[str, Any]:
        ready = {each.alias: each for each in scheduler.statuses() if each.state is EngineState.READY}
        refs = catalog.refs(may_use(request.scope), variants=True)
        up = [(ref.name, ready[ref.engine_key]) for ref in refs if ref.engine_key in ready]
        return {"models": [await _running(rows, rows.get(name), engine) for name, engine in up]}

    @routes.post("/show", summary="One model in Ollama's format")
    async def show(request: Request) -> dict[str, Any]:
        body = await read_body(request.receive, declared_length(request.scope["headers"]), max_body())
        name = model_of(body)
        row, header = rows.get(name, may_use(request.scope)), rows.header(name)
        kind = header.architecture if header else ""
        info: dict[str, Any] = {"general.architecture": kind} if kind else {}
        if kind and (context := row.get("context_length")):
            info[f"{kind}.context_length"] = context
        return {
            "modelfile": "",
            "parameters": "",
            "template": rows.template(name),
            "details": _details(rows, row),
            "model_info": info,
            "capabilities": row["capabilities"] or ["completion"],
            "modified_at": _time(row),
        }

    return routes


async def _running(rows: ModelRows, row: dict[str, Any], engine: EngineStatus) -> dict[str, Any]:
    """Returns a row of `/api/ps`. `size_vram` is the memory on NVIDIA GPUs, 0 without one or if unknown."""
    on_gpus = await memory.on_gpus(pid) if (pid := engine.local_pid) is not None else None
    more = {"size_vram": on_gpus or 0, "context_length": row.get("context_length") or 0}
    return _listed(rows, row) | {"expires_at": _expiry(engine)} | more


def _expiry(engine: EngineStatus) -> str:
    """Returns when the engine is unloaded without further requests."""
    if engine.unloads_at is None:
        return _NEVER
    return datetime.fromtimestamp(engine.unloads_at, UTC).isoformat().replace("+00:00", "Z")


def _listed(rows: ModelRows, row: dict[str, Any]) -> dict[str, Any]:
    size = (row.get("meta") or {}).get("size") or 0
    # Ollama hashes the weights, which would take too long for 200 GB.
    digest = hashlib.sha256(f"{row['id']}:{size}:{row['created']}".encode()).hexdigest()
    listed = {"name": row["id"], "model": row["id"], "modified_at": _time(row), "size": size, "digest": digest}
    return listed | {"details": _details(rows, row)}


def _details(rows: ModelRows, row: dict[str, Any]) -> dict[str, Any]:
    header = rows.header(row["id"])
    family = header.architecture if header else ""
    details = {"parent_model": "", "format": "gguf" if header else "", "family": family}
    parameters = parameters_in_words((row.get("meta") or {}).get("n_params"))
    kinds = {"parameter_size": parameters, "quantization_level": quantization_in_words(header)}
    return details | {"families": [family] if family else []} | kinds


def _time(row: dict[str, Any]) -> str:
    return datetime.fromtimestamp(row["created"], UTC).isoformat().replace("+00:00", "Z")
