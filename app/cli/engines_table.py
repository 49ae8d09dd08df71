"""The table of `ps`: engines of a running gateway that are up, in transition, or failed."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from rich.table import Table

from app.terminal import console, size_in_words, table

_COLUMNS = ("model", "state", "for", "pid", "port", "busy", "waiting", "decodes with", "unloads", "why")
# Columns are dropped in this order on a narrow terminal
_FIRST_TO_GO = ("port", "pid", "for")
# Wider than any table
_ANY_WIDTH = 10_000
_WORDS = ("model", "state", "decodes with", "unloads", "why")


def shown(engines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows worth showing."""
    return [engine for engine in engines if engine["state"] != "stopped" or engine["waiting"]]


def print_engines(engines: Sequence[dict[str, Any]]) -> None:
    """Prints a table of engines that are up or failed, or a line if there are none."""
    rows = shown(engines)
    if not rows:
        print("No engine is loaded. Load one: llama-tandem load MODEL")
        return
    out, now = console(), time.time()
    made = engines_table(rows, now)
    for count in range(1, len(_FIRST_TO_GO) + 1):
        if out.measure(made, options=out.options.update(max_width=_ANY_WIDTH)).maximum <= out.width:
            break
        made = engines_table(rows, now, without=_FIRST_TO_GO[:count])
    out.print(made)


def engines_table(engines: Sequence[dict[str, Any]], now: float, without: Collection[str] = ()) -> Table:
    """Makes the table. `now` is in seconds since the epoch. Leaves out the columns `without`."""
    rows = table(*(column for column in _COLUMNS if column not in without), left=_WORDS)
    for engine in engines:
        slots = f"/{engine['slots']}" if engine["slots"] is not None else ""
        cells = (
            engine["alias"],
            engine["state"],
            _ago(engine["since"], now),
            str(engine["pid"] or "-"),
            str(engine["port"] or "-"),
            f"{engine['in_flight']}{slots}",
            str(engine["waiting"]),
            engine["mode"] or "-",
            _unloads(engine, now),
            _why(engine),
        )
        rows.add_row(*(cell for column, cell in zip(_COLUMNS, cells, strict=True) if column not in without))
    return rows


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


def _ago(moment: float | None, now: float) -> str:
    return "-" if moment is None else duration(now - moment)


def duration(seconds: float) -> str:
    """Formats seconds: `41s`, `5m`, `2h10m`, `3d`"""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes}m"
    return f"{hours}h{minutes % 60}m" if days < 1 else f"{days}d"
