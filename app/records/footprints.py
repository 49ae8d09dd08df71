"""Measured memory of engines, by launch plan. The next start of a plan uses it.

Recording never waits. Reading unknown figures returns nothing, as in the ledger.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

from app.records.database import Database

# Plans without a start for so long are deleted.
KEPT_DAYS = 180


@dataclass(frozen=True, slots=True)
class HeldMemory:
    """Bytes of one place in memory. `mapped` is the part in pages of files. `source` names the measurement."""

    size: int
    mapped: int = 0
    source: str = ""


class Footprints:
    """The footprints in a database. `plan` is the fingerprint of a launch plan."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, plan: str, held: Mapping[str, HeldMemory]) -> None:
        """Replaces the earlier figures of these places."""
        now = time.time()
        rows = [(plan, place, one.size, one.mapped, one.source, now) for place, one in held.items()]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO footprint VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.execute("DELETE FROM footprint WHERE at < ?", (now - KEPT_DAYS * 86400,))

        self._database.record("footprint", work)

    def of(self, plan: str) -> dict[str, HeldMemory]:
        """Returns place -> memory. Blocks."""
        query = "SELECT place, size, mapped, source FROM footprint WHERE plan = ?"
        rows = self._database.read_if_possible("footprint", query, plan)
        return {place: HeldMemory(size, mapped, source) for place, size, mapped, source in rows}
