"""`GET /admin/logs`: the last lines of the gateway's log or of a model, and new lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app import logs
from app.api.openapi_errors import ADMIN, refused
from app.log_memory import LogEntry, LogMemory
from app.models.catalog import Catalog

# Seconds between looks for new lines, and the most lines of one look
_LOOK_EVERY_S, _AT_ONCE = 0.25, 2000
encode = msgspec.json.Encoder(enc_hook=str).encode
Model = Annotated[str | None, Query(description="Model: the lines of its engine, and the gateway's lines about it.")]
Lines = Annotated[int, Query(ge=0, le=2000, description="Number of lines.")]


def log_routes(
    catalog: Catalog, memory: LogMemory = logs.memory, closing: Callable[[], bool] = lambda: False
) -> APIRouter:
    """One JSON object a line: `at` (seconds since the epoch), `level` (`engine` for an engine's own) and the fields.

    `/admin/logs/follow` then streams new lines until the client leaves, or `closing` returns true.
    """
    routes = APIRouter(prefix="/admin")

    def answer(model: str | None, lines: int, going_on: Callable[[], bool]) -> StreamingResponse:
        alias = None if model is None else catalog.resolve(model).engine_key
        batches = log_batches(memory, alias, lines, going_on)
        return StreamingResponse(_lines(batches), media_type="application/x-ndjson")

    @routes.get(
        "/logs",
        summary="The last lines of the log",
        response_class=StreamingResponse,
        responses={404: refused("No such model"), **ADMIN},
    )
    async def last(model: Model = None, lines: Lines = 100) -> StreamingResponse:
        return answer(model, lines, lambda: False)

    # Not in the schema: a client that tries each operation would wait for its end
    @routes.get("/logs/follow", include_in_schema=False)
    async def follow(model: Model = None, lines: Lines = 100) -> StreamingResponse:
        return answer(model, lines, lambda: not closing())

    return routes


async def log_batches(
    memory: LogMemory, alias: str | None, count: int, going_on: Callable[[], bool]
) -> AsyncIterator[list[LogEntry]]:
    """Yields the last lines, then at each look the lines since then, if any."""
    entries = memory.last(count, alias)
    newest = entries[-1].number if entries else memory.newest
    yield entries
    while going_on():
        await asyncio.sleep(_LOOK_EVERY_S)
        entries = memory.last(_AT_ONCE, alias, behind=newest)
        newest = entries[-1].number if entries else newest
        yield entries


async def _lines(batches: AsyncIterator[list[LogEntry]]) -> AsyncIterator[bytes]:
    async for entries in batches:
        yield b"".join(encode(log_row(entry)) + b"\n" for entry in entries)


def log_row(entry: LogEntry) -> dict[str, Any]:
    return {**entry.event, "at": round(entry.at, 3), "level": entry.level}
