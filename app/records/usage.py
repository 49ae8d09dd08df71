"""Who used what: requests and tokens by key, alias and day, in the ledger's database.

A request costs an addition. A thread writes once a second, so that a gateway that is killed loses a second at most, and
one that is stopped nothing. A write that fails is tried again with the next.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from app import logs
from app.records.batch_writer import Batches
from app.records.ledger import FILE_NAME
from app.records.metrics import Finished

log = logs.get_logger("ledger")

# A year and a month, so that a month can be compared with the one a year ago.
KEPT_DAYS = 400
COLUMNS = ("key", "alias", "day")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    key TEXT NOT NULL, alias TEXT NOT NULL, day TEXT NOT NULL, requests INTEGER NOT NULL, tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL, cached INTEGER NOT NULL, drafted INTEGER NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (key, alias, day)
) STRICT;
"""
_SUMS = ("requests", "tokens_in", "tokens_out", "cached", "drafted", "seconds")
_Row = tuple[str, str, str]


@dataclass(slots=True)
class Used:
    """Sums; `cached` is the part of `tokens_in` that the engine had already, `seconds` are the requests' own."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    drafted: int = 0
    seconds: float = 0.0

    def add(self, request: Finished) -> None:
        self.requests += 1
        self.tokens_in += request.prompt_tokens or 0
        self.tokens_out += request.completion_tokens or 0
        self.cached += request.cached or 0
        self.drafted += request.drafted or 0
        self.seconds += request.duration


def day(at: float) -> str:
    """In UTC: one machine's midnight is no other's."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))


class UsageStore:
    """`write` and `read` block, and raise sqlite3.Error or OSError."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME

    def write(self, used: Mapping[_Row, Used], now: float) -> None:
        """All or nothing; drops what is too old."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
        statement = f"INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {sums}"
        with closing(sqlite3.connect(self._path, timeout=1)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executescript(_SCHEMA)
            with database:
                database.executemany(statement, [(*row, *astuple(sums)) for row, sums in used.items()])
                database.execute("DELETE FROM usage WHERE day < ?", (day(now - KEPT_DAYS * 86400),))

    def read(self, by: Sequence[str]) -> list[dict[str, Any]]:
        """Sums by some of `COLUMNS`, in their order; a key of `""` is a request without one."""
        if not self._path.is_file():
            return []
        assert set(by) <= set(COLUMNS), by
        columns = ", ".join(by)
        query = f"SELECT {columns}, {', '.join(f'sum({name})' for name in _SUMS)} FROM usage GROUP BY {columns}"
        with closing(sqlite3.connect(self._path, timeout=5)) as database:
            try:
                rows = database.execute(f"{query} ORDER BY {columns}").fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise
        return [dict(zip((*by, *_SUMS), row, strict=True)) for row in rows]


class UsageRecorder:
    """What came since the last write is in memory: a row a key, alias and day."""

    def __init__(
        self, store: UsageStore, *, base: Callable[[str], str], clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._base = base
        self._clock = clock
        self._kept: dict[_Row, Used] = {}
        self._batches = Batches(self._write, lambda: bool(self._kept))

    def add(self, request: Finished) -> None:
        """Of a request that asked for a model that exists, whatever became of it."""
        if not request.alias:
            return
        row = (request.key, self._base(request.alias), day(self._clock()))
        self._kept.setdefault(row, Used()).add(request)
        self._batches.due()

    async def close(self) -> None:
        """Writes what is left."""
        await self._batches.close()

    async def _write(self) -> None:
        kept, self._kept = self._kept, {}
        try:
            await asyncio.to_thread(self._store.write, kept, self._clock())
        except (sqlite3.Error, OSError) as error:
            log.debug("usage could not be written; it is kept for the next try", error=str(error))
            for row, used in self._kept.items():
                before = kept.setdefault(row, Used())
                kept[row] = Used(*(a + b for a, b in zip(astuple(before), astuple(used), strict=True)))
            self._kept = kept
