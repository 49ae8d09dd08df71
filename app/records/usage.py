"""Records requests and tokens by key, alias and day, in the ledger's database.

A request costs an addition. The database's thread writes once a second: a killed gateway loses at most a second, a
stopped one nothing. While the database fails, the sums continue in memory.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from app.records.database import Database
from app.records.metrics import Finished
from app.records.writer import Work

# A year and a month, so that a month can be compared with the same month a year before.
KEPT_DAYS = 400
COLUMNS = ("key", "alias", "day")
_SUMS = ("requests", "tokens_in", "tokens_out", "cached", "drafted", "seconds")
_Row = tuple[str, str, str]


@dataclass(slots=True)
class UsageSums:
    """Sums. `cached` is the part of `tokens_in` that was in the engine's cache.

    `seconds` sums the requests' durations.
    """

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
    """Returns the day in UTC, which is the same for all machines."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def add_usage(connection: sqlite3.Connection, sums: Mapping[_Row, UsageSums], now: float) -> None:
    """Adds to the rows, and drops rows too old at `now` (seconds since the epoch). Raises sqlite3.Error."""
    columns = (*COLUMNS, *_SUMS)
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    connection.executemany(
        f"INSERT INTO usage ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT (key, alias, day) DO UPDATE SET {added}",
        [(*row, *astuple(used)) for row, used in sums.items()],
    )
    connection.execute("DELETE FROM usage WHERE day < ?", (day(now - KEPT_DAYS * 86400),))


class UsageStore:
    """Reads the usage rows as sums."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, by: Sequence[str]) -> list[dict[str, Any]]:
        """Returns sums by some of `COLUMNS`, in their order. The key `""` stands for requests without a key.

        Blocks. Raises RecordsError.
        """
        assert set(by) <= set(COLUMNS), by
        columns = ", ".join(by)
        sums = ", ".join(f"sum({name})" for name in _SUMS)
        query = f"SELECT {columns}, {sums} FROM usage GROUP BY {columns} ORDER BY {columns}"
        return [dict(zip((*by, *_SUMS), row, strict=True)) for row in self._database.read("usage", query)]


class UsageRecorder:
    """Holds the sums since the last write in memory, one per key, alias and day."""

    table = "usage"

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        # The loop adds, the database's thread takes.
        self._lock = threading.Lock()
        self._sums: dict[_Row, UsageSums] = {}
        database.add_source(self)

    def add(self, request: Finished) -> None:
        """Adds a request for an existing model, whatever its result."""
        if not request.alias:
            return
        row = (request.key, request.entry, day(self._clock()))
        with self._lock:
            self._sums.setdefault(row, UsageSums()).add(request)
        self._database.due()

    def take(self) -> Work | None:
        with self._lock:
            sums, self._sums = self._sums, {}
        now = self._clock()
        return (lambda connection: add_usage(connection, sums, now)) if sums else None
