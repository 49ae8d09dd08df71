"""The one embedded database: what must outlive a restart. One writer, WAL, small rows.

Each alias's last failure, what became of its speculation, and what its requests took; `llama-tandem check` and
`llama-tandem stats` read it from another process.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from app.errors import Diagnosis

FILE_NAME = "ledger.sqlite3"
# Measurements older than this, or beyond this many of an alias, are dropped.
KEPT_DAYS, KEPT_ROWS = 30, 20_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS last_failure (
    alias TEXT PRIMARY KEY, at REAL NOT NULL, code TEXT NOT NULL, cause TEXT NOT NULL, advice TEXT NOT NULL,
    permanent INTEGER NOT NULL, log TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS last_speculation (
    alias TEXT PRIMARY KEY, at REAL NOT NULL, requested TEXT NOT NULL, active INTEGER NOT NULL, mode TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS measurement (
    alias TEXT NOT NULL, key TEXT NOT NULL, mode TEXT NOT NULL, at REAL NOT NULL, in_flight INTEGER NOT NULL,
    ttft REAL, tpot REAL, seconds REAL NOT NULL, tokens INTEGER NOT NULL, drafted INTEGER, accepted INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS cold_start (key TEXT NOT NULL, at REAL NOT NULL, mode TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS inert (plan TEXT PRIMARY KEY, at REAL NOT NULL, reason TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tuned (
    key TEXT PRIMARY KEY, alias TEXT NOT NULL, at REAL NOT NULL, partial INTEGER NOT NULL, recommended TEXT NOT NULL,
    arms TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS measurement_by_alias ON measurement (alias, at);
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """When (seconds since the epoch) and why an alias's engine last failed."""

    at: float
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Speculated:
    """When an alias's engine last came up, and what became of the speculation that was asked for."""

    at: float
    requested: str
    active: bool
    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class ColdStart:
    """When an engine came up for which `auto` had chosen `mode`."""

    at: float
    mode: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One answered request. Times are in seconds; `key` says on what files, build and hardware it ran.

    `ttft` and `tpot` are None where the answer came in one piece and the engine told no timings; `drafted` is None
    where nothing was drafted. `in_flight` counts this request and those beside it when it was sent.
    """

    alias: str
    key: str
    mode: str
    at: float
    in_flight: int
    ttft: float | None
    tpot: float | None
    seconds: float
    tokens: int
    drafted: int | None
    accepted: int | None


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `llama-tandem tune` found for a key, which says on what files, build and hardware.

    `recommended` is a chain of modes as `app.config.speculation.parse_chain` reads it, `arms` one JSON object for each
    that was compared, plain decoding first. `partial`: too little for a recommendation.
    """

    key: str
    alias: str
    at: float
    partial: bool
    recommended: str | list[dict[str, Any]]
    arms: list[dict[str, Any]]

    @property
    def blocks(self) -> int:
        """How much was measured of plain decoding."""
        # Another version of ours may have written it
        first = self.arms[0] if isinstance(self.arms, list) and self.arms else None
        found = first.get("blocks") if isinstance(first, dict) else None
        return found if isinstance(found, int) else 0


class Ledger:
    """A ledger that cannot be written is no reason to refuse service: writing then does nothing.

    Reading gives nothing where nothing is known, be it that nothing happened or that the ledger cannot be read.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME

    # -- failures --------------------------------------------------------------------------------------------

    def record_failure(self, alias: str, diagnosis: Diagnosis) -> None:
        row = (alias, time.time(), diagnosis.code, diagnosis.cause, diagnosis.advice, diagnosis.permanent)
        self._write("INSERT OR REPLACE INTO last_failure VALUES (?, ?, ?, ?, ?, ?, ?)", [(*row, _json(diagnosis))])

    def last_failure(self, alias: str) -> Failure | None:
        with suppress(ValueError, TypeError):  # a row that somebody else wrote
            for row in self._read("SELECT * FROM last_failure WHERE alias = ?", alias):
                _, at, code, cause, advice, permanent, log = row
                return Failure(at, Diagnosis(code, cause, advice, bool(permanent), tuple(json.loads(log))))
        return None

    # -- speculation -----------------------------------------------------------------------------------------

    def record_speculation(self, alias: str, requested: str, active: bool, mode: str, reason: str) -> None:
        row = (alias, time.time(), requested, active, mode, reason)
        self._write("INSERT OR REPLACE INTO last_speculation VALUES (?, ?, ?, ?, ?, ?)", [row])

    def prove_speculation(self, alias: str, reason: str) -> None:
        """Traffic has shown that the alias's last start does speculate; `reason` is what is left to explain."""
        self._write("UPDATE last_speculation SET active = 1, reason = ? WHERE alias = ?", [(reason, alias)])

    def last_speculation(self, alias: str) -> Speculated | None:
        for row in self._read("SELECT * FROM last_speculation WHERE alias = ?", alias):
            _, at, requested, active, mode, reason = row
            return Speculated(at, requested, bool(active), mode, reason)
        return None

    def record_inert(self, plan: str, reason: str) -> None:
        """`plan` is the fingerprint of one whose speculation fails at every start; another file or build changes it."""
        self._write("INSERT OR REPLACE INTO inert VALUES (?, ?, ?)", [(plan, time.time(), reason)])
        self._write("DELETE FROM inert WHERE at < ?", [(time.time() - KEPT_DAYS * 86400,)])

    def inert(self, plan: str) -> str | None:
        """Why its speculation is not tried again; None where nothing speaks against it."""
        rows = self._read("SELECT reason FROM inert WHERE plan = ?", plan)
        return str(rows[0][0]) if rows else None

    def record_start(self, key: str, start: ColdStart) -> None:
        """Whether the engine then speculated or not."""
        self._write("INSERT INTO cold_start VALUES (?, ?, ?)", [(key, start.at, start.mode)])
        self._write("DELETE FROM cold_start WHERE at < ?", [(time.time() - KEPT_DAYS * 86400,)])

    def starts(self, key: str) -> list[ColdStart]:
        """Oldest first."""
        return [ColdStart(*row) for row in self._read("SELECT at, mode FROM cold_start WHERE key = ? ORDER BY at", key)]

    # -- measurements ----------------------------------------------------------------------------------------

    def record_measurements(self, found: Sequence[Measurement]) -> None:
        """Also drops what is too old or too much."""
        places = ", ".join("?" * len(fields(Measurement)))
        self._write(f"INSERT INTO measurement VALUES ({places})", [astuple(row) for row in found])
        self._write("DELETE FROM measurement WHERE at < ?", [(time.time() - KEPT_DAYS * 86400,)])
        newest = "SELECT rowid FROM measurement WHERE alias = ? ORDER BY at DESC LIMIT -1 OFFSET ?"
        aliases = {row.alias for row in found}
        self._write(f"DELETE FROM measurement WHERE rowid IN ({newest})", [(alias, KEPT_ROWS) for alias in aliases])

    def measurements(self, alias: str | None = None) -> list[Measurement]:
        """Of one alias or of all, oldest first."""
        where, values = ("WHERE alias = ?", (alias,)) if alias is not None else ("", ())
        with suppress(TypeError):
            return [Measurement(*row) for row in self._read(f"SELECT * FROM measurement {where} ORDER BY at", *values)]
        return []

    def last_uses(self) -> dict[str, float]:
        """Alias or variant -> when its engine last came up or answered, in seconds since the epoch."""
        both = "SELECT alias, at FROM measurement UNION ALL SELECT alias, at FROM last_speculation"
        return dict(self._read(f"SELECT alias, max(at) FROM ({both}) GROUP BY alias"))

    # -- tuning ----------------------------------------------------------------------------------------------

    def record_tuned(self, found: Tuned) -> None:
        """Takes the place of what the key had; a partial run does not replace a whole one."""
        row = (found.key, found.alias, found.at, found.partial, json.dumps(found.recommended), json.dumps(found.arms))
        taken = ", ".join(f"{name} = excluded.{name}" for name in ("alias", "at", "partial", "recommended", "arms"))
        self._write(
            "INSERT INTO tuned VALUES (?, ?, ?, ?, ?, ?) "
            f"ON CONFLICT (key) DO UPDATE SET {taken} WHERE excluded.partial <= tuned.partial",
            [row],
        )

    def tuned(self, key: str) -> Tuned | None:
        with suppress(ValueError, TypeError):  # a row that somebody else wrote
            for row in self._read("SELECT * FROM tuned WHERE key = ?", key):
                _, alias, at, partial, recommended, arms = row
                return Tuned(key, alias, at, bool(partial), json.loads(recommended), json.loads(arms))
        return None

    # -- the file --------------------------------------------------------------------------------------------

    def _write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with suppress(sqlite3.Error, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=1)) as database, database:
                database.execute("PRAGMA journal_mode=WAL")
                database.executescript(_SCHEMA)
                database.executemany(statement, rows)

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        # OSError: even to look may be forbidden. A missing table is an sqlite3.Error.
        with suppress(sqlite3.Error, OSError):
            if self._path.is_file():
                with closing(sqlite3.connect(self._path, timeout=1)) as database:
                    return database.execute(query, values).fetchall()
        return []


def _json(diagnosis: Diagnosis) -> str:
    return json.dumps(diagnosis.log_tail)
