"""`ps --watch`: engines and running requests, twice a second, until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from app.cli.admin_client import AdminClient
from app.cli.engines_table import NONE_UP, columns_for, duration, engine_cells, fitting, loading_words, shown
from app.terminal import columns, console, memory_in_words

EVERY_S = 0.5
# Columns are dropped in this order on a narrow terminal
_FIRST_TO_GO = ("context", "memory", "idle", "unloads in", "acceptance", "mode")
_FIRST_TO_GO_BELOW = ("id", "first token", "client")
_ENGINES = (
    "model",
    "state",
    "node",
    "mode",
    "acceptance",
    "tok/s",
    "busy",
    "waiting",
    "memory",
    "context",
    "idle",
    "unloads in",
)
_REQUESTS = ("request of", "client", "state", "for", "first token", "tokens", "tok/s", "id")
_LEFT = ("model", "state", "node", "mode", "request of", "client", "id")

Rows = Sequence[dict[str, Any]]


def watch(client: AdminClient, pause: Callable[[float], None] = time.sleep) -> None:
    """Runs until Ctrl-C. Raises UpstreamError if the gateway ends."""
    out = console()
    if not out.is_terminal:
        _one_after_another(client, out, pause)
        return
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        for engines, requests in _looks(client, pause):
            # A terminal may be resized
            out.width = columns()
            live.update(view(engines, requests, time.time(), out), refresh=True)


def _one_after_another(client: AdminClient, out: Console, pause: Callable[[float], None]) -> None:
    """Prints only changes, for a terminal that cannot overwrite lines."""
    last = ""
    for engines, requests in _looks(client, pause):
        with out.capture() as captured:
            out.print(view(engines, requests, time.time(), out))
        if (text := captured.get()) != last:
            last = text
            print(text, flush=True)


def _looks(client: AdminClient, pause: Callable[[float], None]) -> Iterator[tuple[Rows, Rows]]:
    while True:
        yield client.engines(), client.get("/admin/requests")["data"]
        pause(EVERY_S)


def view(engines: Rows, requests: Rows, now: float, out: Console) -> Group:
    """Returns both tables, fitted to the width of `out`. `now` is in seconds since the epoch."""
    rows = shown(engines)
    parts: list[Any] = []
    if rows:
        cells = [_engine_cells(engine, requests, now) for engine in rows]
        parts.append(fitting(_known(columns_for(rows, _ENGINES), cells), cells, _FIRST_TO_GO, _LEFT, out))
        parts += [Text(_why(engine), style="dim") for engine in rows if _why(engine)]
    else:
        parts.append(Text(NONE_UP))
    if requests:
        cells = [_request_cells(each) for each in requests]
        parts += [Text(""), fitting(_known(_REQUESTS, cells), cells, _FIRST_TO_GO_BELOW, _LEFT, out)]
    return Group(*parts)


def _known(names: Sequence[str], rows: Sequence[dict[str, str]]) -> list[str]:
    """Returns the columns that are not empty in every row."""
    return [name for name in names if any(row[name] != "-" for row in rows)]


def _engine_cells(engine: dict[str, Any], requests: Rows, now: float) -> dict[str, str]:
    speeds = [each["tok_s"] for each in requests if each["model"] == engine["alias"] and each["tok_s"]]
    speed = sum(speeds) or engine.get("tok_s")
    acceptance, memory, context = engine.get("acceptance"), engine.get("memory"), engine.get("context")
    idle = engine["state"] == "ready" and not engine["in_flight"]
    since = engine["last_used"] or engine["since"]
    unloads = None if engine["unloads_at"] is None else duration(engine["unloads_at"] - now)
    return engine_cells(engine, now) | {
        "mode": engine["mode"] or "-",
        "acceptance": "-" if acceptance is None else f"{100 * acceptance:.0f} %",
        "tok/s": _speed(speed),
        "memory": "-" if memory is None else memory_in_words(memory, 1),
        "context": "-" if context is None else str(context),
        "idle": duration(now - since) if idle and since is not None else "-",
        "unloads in": "pinned" if engine["pinned"] else unloads or "-",
    }


def _request_cells(request: dict[str, Any]) -> dict[str, str]:
    before = request["before"]
    return {
        "request of": request["model"],
        "client": request["client"] or "-",
        "state": request["state"] if before is None else f"waiting, {before} before it",
        "for": duration(request["seconds"]),
        "first token": "-" if request["ttft"] is None else f"{request['ttft']:.2f} s",
        "tokens": "-" if request["tokens"] is None else str(request["tokens"]),
        "tok/s": _speed(request["tok_s"]),
        "id": request["id"][:8],
    }


def _speed(speed: float | None) -> str:
    if not speed:
        return "-"
    return f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}"


def _why(engine: dict[str, Any]) -> str:
    """Returns a line below the table: a load's progress, or why an engine is down."""
    if words := loading_words(engine):
        return f"{engine['alias']}: {words}"
    if engine["state"] in ("backoff", "fatal") and engine["diagnosis"]:
        return f"{engine['alias']}: {engine['diagnosis']['cause']}"
    return ""
