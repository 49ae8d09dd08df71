"""What a person watches: figures of each engine, and the requests that are in flight."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import psutil
from fastapi import APIRouter

from app.api.openapi_errors import ADMIN
from app.models.catalog import Catalog
from app.records.recent import RecentAnswers
from app.relay.relay import OpenRequest
from app.scheduler.engine_status import EngineStatus


class LiveFigures:
    """`requests` gives those in flight, the oldest first."""

    def __init__(self, catalog: Catalog, recent: RecentAnswers, requests: Callable[[], Iterable[OpenRequest]]) -> None:
        self._catalog = catalog
        self._recent = recent
        self._requests = requests

    def engine(self, status: EngineStatus) -> dict[str, Any]:
        """Beside an engine's status. `memory` is what its process holds of the host's, in bytes, shared pages too."""
        names = [ref.name for ref in self._catalog.refs(presets=True, variants=True) if ref.engine_key == status.alias]
        figures = self._recent.figures(*names)
        return {
            "context": status.facts.context if status.facts else None,
            "memory": _resident(status.pid),
            "acceptance": None if figures.acceptance is None else round(figures.acceptance, 4),
            "tok_s": None if figures.tok_s is None else round(figures.tok_s, 2),
        }

    def requests(self) -> list[dict[str, Any]]:
        """Seconds are since the request came; a whole (not streamed) answer shows no tokens before its end."""
        now = time.perf_counter()
        return [_request(request, now) for request in self._requests()]


def _request(request: OpenRequest, now: float) -> dict[str, Any]:
    meter, before = request.meter, request.ticket.before
    seconds, tokens = now - meter.began, meter.tokens
    speed = None
    if tokens and meter.ttft is not None and seconds > meter.ttft:
        speed = round(tokens / (seconds - meter.ttft), 2)
    return {
        "id": request.writer.request_id,
        "model": request.call.ref.name if request.call else "",
        "client": request.ticket.client,
        "request": request.line,
        "state": _state(request),
        "before": before,
        "seconds": round(seconds, 1),
        "ttft": None if meter.ttft is None else round(meter.ttft, 3),
        "tokens": tokens,
        "tok_s": speed,
    }


def _state(request: OpenRequest) -> str:
    if request.response is None:
        return "waiting" if request.ticket.before is not None else "sent"
    return "answering" if request.meter.ttft is not None else "reading"


def _resident(pid: int | None) -> int | None:
    if pid is not None:
        with suppress(psutil.Error, OSError):
            return int(psutil.Process(pid).memory_info().rss)
    return None


def live_routes(live: LiveFigures) -> APIRouter:
    """One route."""
    routes = APIRouter(prefix="/admin")

    @routes.get("/requests", summary="The requests that are in flight, the oldest first", responses=ADMIN)
    async def requests() -> dict[str, Any]:
        return {"object": "list", "data": live.requests()}

    return routes
