"""What engines were found to take outlives the gateway."""

from __future__ import annotations

from pathlib import Path

from app.records.database import Database
from app.records.footprints import Footprints, HeldMemory
from app.records.schema import VERSION
from tests.support.records import execute, ledger_in


def test_figures_are_kept_by_plan_and_place(tmp_path: Path) -> None:
    """A new one takes the place of the old; places that it does not name keep theirs."""
    with Database(tmp_path) as database:
        kept = Footprints(database)
        kept.record("plan", {"host": HeldMemory(5, 3, "process"), "CUDA0": HeldMemory(7, source="nvml")})
        kept.record("plan", {"host": HeldMemory(6, 3, "engine")})
        kept.record("other", {"host": HeldMemory(1)})
    again = Footprints(Database(tmp_path))
    assert again.of("plan") == {"host": HeldMemory(6, 3, "engine"), "CUDA0": HeldMemory(7, source="nvml")}
    assert again.of("unknown") == {}


def test_a_file_of_the_first_version_gets_the_table(tmp_path: Path) -> None:
    """With a copy of what it was; nothing else of it changes."""
    with ledger_in(tmp_path) as ledger:
        ledger.record_inert("plan", "it aborts")
    execute(tmp_path, "DROP TABLE footprint", "PRAGMA user_version = 1")
    with Database(tmp_path) as database:
        Footprints(database).record("plan", {"host": HeldMemory(5)})
    assert execute(tmp_path, "PRAGMA user_version") == [(VERSION,)]
    assert execute(tmp_path, "SELECT place, size FROM footprint") == [("host", 5)]
    assert execute(tmp_path, "SELECT reason FROM inert") == [("it aborts",)]
    assert (tmp_path / "ledger.sqlite3.bak").exists()
