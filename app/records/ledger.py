"""Keeps data of each alias over restarts: its last failure, the state of its speculation, and measurements.

`llama-tandem check` and `llama-tandem stats` read it from another process. `database.py` describes the writes.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from typing import Any

from app.errors import Diagnosis
from app.records.database import Database, Row
from app.records.writer import Work

# Older measurements, and those beyond this number per alias, are dropped.
KEPT_DAYS, KEPT_ROWS = 30, 20_000


@dataclass(frozen=True, slots=True)
class Failure:
    """An alias's last engine failure: its time (seconds since the epoch) and cause."""

    at: float
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class SpeculationResult:
    """The last start of an alias's engine, and the result of its requested speculation."""

    at: float
    requested: str
    active: bool
    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class ColdStart:
    """The time of an engine's start with `mode`, which `auto` chose."""

    at: float
    mode: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One answered request. Times are in seconds. `key` identifies files, build and hardware.

    `ttft` and `tpot` are None if the answer came in one piece without timings. `drafted` is None if nothing was
    drafted. `in_flight` counts the requests in flight when this one was sent, itself included.
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
class TuningRecord:
    """The result of `llama-tandem tune` for a key, which identifies files, build and hardware.

    `recommended` is a chain of modes as for `app.config.speculation.parse_chain`. `arms` has one JSON object per
    compared mode, plain decoding first. `partial` means too little data for a recommendation.
    """

    key: str
    alias: str
    at: float
    partial: bool
    recommended: str | list[dict[str, Any]]
    arms: list[dict[str, Any]]

    @property
    def blocks(self) -> int:
        """The number of blocks measured with plain decoding."""
        # Another version may have written it
        first = self.arms[0] if isinstance(self.arms, list) and self.arms else None
        blocks = first.get("blocks") if isinstance(first, dict) else None
        return blocks if isinstance(blocks, int) else 0


_MEASURED = tuple(field.name for field in fields(Measurement))


def insert_measurements(connection: sqlite3.Connection, rows: Sequence[Measurement]) -> None:
    """Inserts measurements, and drops old and surplus ones. Raises sqlite3.Error."""
    connection.executemany(_insert("measurement", _MEASURED), [astuple(row) for row in rows])
    connection.execute("DELETE FROM measurement WHERE at < ?", (time.time() - KEPT_DAYS * 86400,))
    newest = "SELECT rowid FROM measurement WHERE alias = ? ORDER BY at DESC LIMIT -1 OFFSET ?"
    aliases = {row.alias for row in rows}
    connection.executemany(
        f"DELETE FROM measurement WHERE rowid IN ({newest})", [(alias, KEPT_ROWS) for alias in aliases]
    )


class Ledger:
    """Recording never waits: the database's thread writes. A failing database does not stop the service.

    Reading blocks and returns nothing if nothing is known. Read errors go to the database's `warn`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read = database.read_if_possible

    # -- failures --------------------------------------------------------------------------------------------

    def record_failure(self, alias: str, diagnosis: Diagnosis) -> None:
        columns = ("alias", "at", "code", "cause", "advice", "permanent", "log")
        log = json.dumps(diagnosis.log_tail)
        row = (alias, time.time(), diagnosis.code, diagnosis.cause, diagnosis.advice, diagnosis.permanent, log)
        self._record("last_failure", (_insert("last_failure", columns, "OR REPLACE"), row))

    def last_failure(self, alias: str) -> Failure | None:
        query = "SELECT at, code, cause, advice, permanent, log FROM last_failure WHERE alias = ?"
        with suppress(ValueError, TypeError):  # A row of a foreign program
            for at, code, cause, advice, permanent, log in self._read("last_failure", query, alias):
                return Failure(at, Diagnosis(code, cause, advice, bool(permanent), tuple(json.loads(log))))
        return None

    # -- speculation -----------------------------------------------------------------------------------------

    def record_speculation(self, alias: str, requested: str, active: bool, mode: str, reason: str) -> None:
        columns = ("alias", "at", "requested", "active", "mode", "reason")
        row = (alias, time.time(), requested, active, mode, reason)
        self._record("last_speculation", (_insert("last_speculation", columns, "OR REPLACE"), row))

    def prove_speculation(self, alias: str, reason: str) -> None:
        """Records that traffic has proved the speculation of the last start. `reason` explains the rest."""
        statement = "UPDATE last_speculation SET active = 1, reason = ? WHERE alias = ?"
        self._record("last_speculation", (statement, (reason, alias)))

    def last_speculation(self, alias: str) -> SpeculationResult | None:
        query = "SELECT at, requested, active, mode, reason FROM last_speculation WHERE alias = ?"
        for at, requested, active, mode, reason in self._read("last_speculation", query, alias):
            return SpeculationResult(at, requested, bool(active), mode, reason)
        return None

    def record_inert(self, plan: str, reason: str) -> None:
        """Records that a plan's speculation fails at every start. A changed file or build has another fingerprint."""
        now = time.time()
        self._record(
            "inert",
            (_insert("inert", ("plan", "at", "reason"), "OR REPLACE"), (plan, now, reason)),
            ("DELETE FROM inert WHERE at < ?", (now - KEPT_DAYS * 86400,)),
        )

    def inert(self, plan: str) -> str | None:
        """Returns why the plan's speculation is not tried again, or None."""
        rows = self._read("inert", "SELECT reason FROM inert WHERE plan = ?", plan)
        return str(rows[0][0]) if rows else None

    def record_start(self, key: str, start: ColdStart) -> None:
        """Records a start, and whether the engine speculated."""
        self._record(
            "cold_start",
            (_insert("cold_start", ("key", "at", "mode")), (key, start.at, start.mode)),
            ("DELETE FROM cold_start WHERE at < ?", (time.time() - KEPT_DAYS * 86400,)),
        )

    def starts(self, key: str) -> list[ColdStart]:
        """Returns the cold starts of `auto`, oldest first."""
        rows = self._read("cold_start", "SELECT at, mode FROM cold_start WHERE key = ? ORDER BY at", key)
        return [ColdStart(at, mode) for at, mode in rows]

    # -- measurements ----------------------------------------------------------------------------------------

    def record_measurements(self, rows: Sequence[Measurement]) -> None:
        """Inserts measurements, and drops old and surplus ones."""
        self._database.record("measurement", lambda connection: insert_measurements(connection, rows))

    def measurements(self, alias: str | None = None) -> list[Measurement]:
        """Returns measurements of one alias or of all, oldest first."""
        where, values = ("WHERE alias = ?", (alias,)) if alias is not None else ("", ())
        query = f"SELECT {', '.join(_MEASURED)} FROM measurement {where} ORDER BY at"
        return [Measurement(*row) for row in self._read("measurement", query, *values)]

    def last_uses(self) -> dict[str, float]:
        """Maps alias or variant to the time when its engine last started or answered, in seconds since the epoch."""
        uses: dict[str, float] = {}
        for table in ("measurement", "last_speculation"):
            for alias, at in self._read(table, f"SELECT alias, max(at) FROM {table} GROUP BY alias"):
                uses[alias] = max(at, uses.get(alias, at))
        return uses

    # -- tuning ----------------------------------------------------------------------------------------------

    def record_tuned(self, result: TuningRecord) -> None:
        """Replaces the key's result, except a complete one by a partial one.

        Blocks. Raises RecordsError, so that hours of measurement are not lost silently.
        """
        columns = ("key", "alias", "at", "partial", "recommended", "arms")
        row = (
            *(result.key, result.alias, result.at, result.partial),
            *(json.dumps(result.recommended), json.dumps(result.arms)),
        )
        taken = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
        conflict = f"ON CONFLICT (key) DO UPDATE SET {taken} WHERE excluded.partial <= tuned.partial"
        self._database.write("tuned", _work((f"{_insert('tuned', columns)} {conflict}", row)))

    def tuned(self, key: str) -> TuningRecord | None:
        query = "SELECT alias, at, partial, recommended, arms FROM tuned WHERE key = ?"
        with suppress(ValueError, TypeError):  # A row of a foreign program
            for alias, at, partial, recommended, arms in self._read("tuned", query, key):
                return TuningRecord(key, alias, at, bool(partial), json.loads(recommended), json.loads(arms))
        return None

    # -- the database ----------------------------------------------------------------------------------------

    def _record(self, table: str, *statements: tuple[str, Row]) -> None:
        self._database.record(table, _work(*statements))


def _work(*statements: tuple[str, Row]) -> Work:
    def work(connection: sqlite3.Connection) -> None:
        for statement, values in statements:
            connection.execute(statement, values)

    return work


def _insert(table: str, columns: Iterable[str], conflict: str = "") -> str:
    names = tuple(columns)
    return f"INSERT {conflict} INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
