"""The table of `ps`: engines of a running gateway that are up, in transition, or failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from app.supervisor.host import LOCAL
from app.terminal import console, size_in_words, table

NONE_UP = "No engine is loaded. Load one: llama-tandem load MODEL"
_COLUMNS = ("model", "state", "for", "node", "pid", "port", "busy", "waiting", "decodes with", "unloads", "why")
# Columns are dropped in this order on a narrow terminal
_FIRST_TO_GO = ("port", "pid", "for")
_WORDS = ("model", "state", "node", "decodes with", "unloads", "why")
# Blanks between two columns
_BETWEEN = 2


def shown(engines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows worth showing."""
    return [engine for engine in engines if engine["state"] != "stopped" or engine["waiting"]]


def print_engines(engines: Sequence[dict[str, Any]]) -> None:
    """Prints a table of engines that are up or failed, or a line if there are none."""
    rows = shown(engines)
    if not rows:
        print(NONE_UP)
        return
    out, now = console(), time.time()
    cells = [engine_cells(engine, now) for engine in rows]
    out.print(fitting(columns_for(rows, _COLUMNS), cells, _FIRST_TO_GO, _WORDS, out))


def columns_for(engines: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
    """Returns these columns, without the node if all engines run on this machine."""
    local = all(engine.get("host") in (None, LOCAL) for engine in engines)
    return [name for name in names if not (local and name == "node")]


def fitting(
    names: Sequence[str], rows: Sequence[dict[str, str]], goes: Sequence[str], words: Sequence[str], out: Console
) -> Table:
    """Returns a table of these columns, without the first of `goes` that do not fit. Columns outside `words` are
    figures."""
    left = list(names)
    for column in goes:
        widths = [max(cell_len(name), *(cell_len(row[name]) for row in rows)) for name in left]
        if sum(widths) + _BETWEEN * (len(left) - 1) <= out.width:
            break
        left = [name for name in left if name != column]
    made = table(*left, left=words)
    for row in rows:
        made.add_row(*(row[name] for name in left))
    return made


def engine_cells(engine: dict[str, Any], now: float) -> dict[str, str]:
    """Returns an engine's cells by column. `now` is in seconds since the epoch."""
    slots = f"/{engine['slots']}" if engine["slots"] is not None else ""
    return {
        "model": engine["alias"],
        "state": engine["state"],
        "for": "-" if engine["since"] is None else duration(now - engine["since"]),
        "node": engine.get("host") or "-",
        "pid": str(engine["pid"] or "-"),
        "port": str(engine["port"] or "-"),
        "busy": f"{engine['in_flight']}{slots}",
        "waiting": str(engine["waiting"]),
        "decodes with": engine["mode"] or "-",
        "unloads": _unloads(engine, now),
        "why": _why(engine),
    }


def loading_words(engine: dict[str, Any]) -> str:
    """Returns a load's progress: `3.20 GB of 4.10 GB read, 12 s`. Empty before the first figures."""
    loading = engine["loading"]
    if not loading:
        return ""
    read, size = loading["read"], loading["size"]
    of_size = f"{size_in_words(read)} of {size_in_words(size)} read, " if size else ""
    return f"{of_size}{loading['seconds']:.0f} s"


def _why(engine: dict[str, Any]) -> str:
    diagnosis = engine["diagnosis"]
    if engine["state"] in ("backoff", "fatal") and diagnosis:
        return f"{diagnosis['cause']} {diagnosis['advice']}".strip()
    return loading_words(engine) or engine["reason"]


def _unloads(engine: dict[str, Any], now: float) -> str:
    if engine["pinned"]:
        return "pinned"
    return "-" if engine["unloads_at"] is None else f"in {duration(engine['unloads_at'] - now)}"


def duration(seconds: float) -> str:
    """Formats seconds: `41s`, `5m`, `2h10m`, `3d`"""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes}m"
    return f"{hours}h{minutes % 60}m" if days < 1 else f"{days}d"
