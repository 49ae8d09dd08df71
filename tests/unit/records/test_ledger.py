"""What outlives a restart, and what a broken file may not break."""

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import Diagnosis
from app.records.database import FILE_NAME, Database
from app.records.ledger import Ledger, Measurement, TuningRecord
from tests.support.records import ledger_in

FIRST = Diagnosis("missing_file", "The file x is gone.", "Fetch it.", permanent=True, log_tail=("one", "twö"))
SECOND = Diagnosis("killed", "It was killed.", "", permanent=False)


def test_a_failure_outlives_the_process(tmp_path: Path) -> None:
    """`check` reads in another process what `serve` wrote; the folder is made for it."""
    with ledger_in(tmp_path / "new" / "state") as ledger:
        ledger.record_failure("org/a", FIRST)
    found = Ledger(Database(tmp_path / "new" / "state")).last_failure("org/a")
    assert found is not None
    assert found.diagnosis == FIRST
    assert found.at > 0


def test_the_last_failure_of_each_alias_is_kept(tmp_path: Path) -> None:
    """A later one takes the place of the earlier, and of no other alias's."""
    with ledger_in(tmp_path) as ledger:
        ledger.record_failure("a", FIRST)
        ledger.record_failure("b", FIRST)
        ledger.record_failure("a", SECOND)
    found = {alias: ledger.last_failure(alias) for alias in ("a", "b", "c")}
    assert {alias: failure and failure.diagnosis for alias, failure in found.items()} == {
        "a": SECOND,
        "b": FIRST,
        "c": None,
    }


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """`check` on a machine where nothing ever ran leaves nothing behind."""
    assert Ledger(Database(tmp_path / "state")).last_failure("a") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 200, b""])
def test_a_corrupt_file_is_no_failure_and_no_reason_to_fail(tmp_path: Path, content: bytes) -> None:
    """Half a disk or a foreign file: reading says that nothing is known and why, and writing goes on trying."""
    (tmp_path / FILE_NAME).write_bytes(content)
    told: list[str] = []
    ledger = Ledger(Database(tmp_path, report=told.append))
    assert ledger.last_failure("a") is None
    assert bool(told) == bool(content) and all("is not a database. Move it away" in line for line in told)
    ledger.record_failure("a", FIRST)


@pytest.mark.parametrize("log", ["", "null", "5", "{"])
def test_a_row_that_somebody_else_wrote_is_not_read(tmp_path: Path, log: str) -> None:
    """The log's lines are JSON inside the row."""
    with ledger_in(tmp_path) as ledger:
        ledger.record_failure("a", FIRST)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database, database:
        database.execute("UPDATE last_failure SET log = ?", (log,))
    assert ledger.last_failure("a") is None


@pytest.mark.parametrize("name", ["file/below", "x" * 300])
def test_a_folder_that_cannot_be_is_no_reason_to_fail(tmp_path: Path, name: str) -> None:
    """A file stands where the folder should be, or the system refuses even to look."""
    (tmp_path / "file").touch()
    ledger = Ledger(Database(tmp_path / name, report=lambda text: None))
    ledger.record_failure("a", FIRST)
    assert ledger.last_failure("a") is None


def test_a_tuning_is_kept_under_its_key(tmp_path: Path) -> None:
    """The newest one, and a run that was broken off does not take the place of a whole one."""
    ledger = Ledger(Database(tmp_path))
    whole = TuningRecord("k", "org/a", 1.0, False, [{"mode": "draft-simple", "n_max": 8}], [{"name": "none"}])
    ledger.record_tuned(replace(whole, at=0.5, partial=True, recommended="none"))
    ledger.record_tuned(whole)
    ledger.record_tuned(replace(whole, at=2.0, partial=True, recommended="none"))
    assert ledger.tuned("k") == whole and ledger.tuned("other") is None
    ledger.record_tuned(replace(whole, at=3.0, recommended="none"))
    assert (found := ledger.tuned("k")) is not None and (found.at, found.recommended) == (3.0, "none")


def test_traffic_may_prove_what_a_start_could_not(tmp_path: Path) -> None:
    """Of the last start of that alias, which stays when it was."""
    with ledger_in(tmp_path) as ledger:
        ledger.record_speculation("a", "auto", False, "ngram-mod", "not yet")
        ledger.record_speculation("b", "auto", False, "ngram-mod", "not yet")
    before = ledger.last_speculation("a")
    with ledger_in(tmp_path) as ledger:
        ledger.prove_speculation("a", "")
    assert before is not None and ledger.last_speculation("a") == replace(before, active=True, reason="")
    assert (found := ledger.last_speculation("b")) is not None and not found.active


def test_a_plan_that_cannot_speculate_is_known_for_a_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver may have changed since, of which a plan knows nothing."""
    with ledger_in(tmp_path) as ledger:
        ledger.record_inert("plan", "it aborts")
    assert (ledger.inert("plan"), ledger.inert("another")) == ("it aborts", None)
    later = time.time() + 31 * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    with ledger_in(tmp_path) as ledger:
        ledger.record_inert("another", "it aborts as well")
    assert (ledger.inert("plan"), ledger.inert("another")) == (None, "it aborts as well")


def test_measurements_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an alias beyond a number go, oldest first, and those of another stay."""
    monkeypatch.setattr("app.records.ledger.KEPT_ROWS", 2)
    rows = [Measurement("a", "k", "none", 1e10 + n, 1, None, None, 1.0, 2, None, None) for n in range(4)]
    with ledger_in(tmp_path) as ledger:
        ledger.record_measurements([*rows, replace(rows[0], alias="b"), replace(rows[0], alias="b", at=1.0)])
    assert ledger.measurements("a") == rows[2:]
    assert ledger.measurements() == [replace(rows[0], alias="b"), *rows[2:]]


def test_the_last_use_is_the_latest_start_or_answer(tmp_path: Path) -> None:
    """By alias or variant; of one that was never used nothing is known."""
    assert Ledger(Database(tmp_path)).last_uses() == {}
    with ledger_in(tmp_path) as ledger:
        ledger.record_speculation("a", "none", False, "none", "")
    started = ledger.last_uses()["a"]
    row = Measurement("a", "k", "none", started + 5, 1, None, None, 1.0, 2, None, None)
    with ledger_in(tmp_path) as ledger:
        ledger.record_measurements([row, replace(row, alias="b:plain", at=started - 5)])
    assert ledger.last_uses() == {"a": started + 5, "b:plain": started - 5}
