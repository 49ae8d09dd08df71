"""`GET /admin/logs`: the last lines of the gateway's log or of a model, and new lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app import logs
from app.api.openapi_errors import ADMIN, refused
from app.log_memory import LogEntry, LogMemory
from app.models.catalog import Catalog

# Seconds between looks for new lines, and the most lines of one look
_LOOK_EVERY_S, _AT_ONCE = 0.25, 2000
_encode = msgspec.json.Encoder(enc_hook=str).encode
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
        return StreamingResponse(_lines(memory, alias, lines, going_on), media_type="application/x-ndjson")

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


async def _lines(
    memory: LogMemory, alias: str | None, count: int, going_on: Callable[[], bool]
) -> AsyncIterator[bytes]:
    entries = memory.last(count, alias)
    newest = entries[-1].number if entries else memory.newest
    yield b"".join(map(_line, entries))
    while going_on():
        await asyncio.sleep(_LOOK_EVERY_S)
        if entries := memory.last(_AT_ONCE, alias, behind=newest):
            newest = entries[-1].number
            yield b"".join(map(_line, entries))


def _line(entry: LogEntry) -> bytes:
    return _encode({**entry.event, "at": round(entry.at, 3), "level": entry.level}) + b"\n"
