"""Sums measurements by minute, model and mode."""

from __future__ import annotations

from typing import Any

from app.records.database import Database

# Rows: more than a day of one model and mode
MOST_ROWS = 2000

_FIELDS = ("at", "model", "mode", "requests", "tokens", "drafted", "accepted", "ttft", "tokens_per_second")
_BY_MINUTE = """
    SELECT CAST(at / 60 AS INTEGER) * 60 AS minute, alias, mode, count(*), sum(tokens), sum(drafted), sum(accepted),
        round(avg(ttft), 4),
        round(sum(CASE WHEN tpot > 0 THEN tokens - 1 END) / sum(CASE WHEN tpot > 0 THEN tpot * (tokens - 1) END), 2)
    FROM measurement WHERE at >= ? AND (? = '' OR alias = ?)
    GROUP BY minute, alias, mode ORDER BY minute DESC, alias, mode LIMIT ?
"""


def minutes(database: Database, alias: str, since: float) -> list[dict[str, Any]]:
    """Returns the newest minutes first, of one model or, with an empty `alias`, of all. Blocks. Raises RecordsError.

    `at` is the minute's beginning. `ttft` is a mean in seconds. None means not measured.
    """
    rows = database.read("measurement", _BY_MINUTE, since, alias, alias, MOST_ROWS)
    return [dict(zip(_FIELDS, row, strict=True)) for row in rows]
