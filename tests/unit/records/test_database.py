"""The file: its migrations, who may read it, and what is said where it cannot be used."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.auth.key_store import KeyStore
from app.auth.keys import digest
from app.errors import NewerRecordsError, RecordsError, TableMismatchError
from app.records import schema
from app.records.database import FILE_NAME, Database
from app.records.ledger import ColdStart, Ledger
from app.records.schema import VERSION
from app.records.usage import UsageStore
from tests.support.paths import DATA
from tests.support.records import execute, ledger_in, write_lock

# Made by the code of the last version without versions.
OLD = DATA / "ledger" / "version-0.sqlite3"


def old_file(folder: Path) -> Path:
    return Path(shutil.copy(OLD, folder / FILE_NAME))


def version(folder: Path) -> int:
    [[found]] = execute(folder, "PRAGMA user_version")
    return int(found)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_something(folder: Path, report: Any = None) -> None:
    with Database(folder, report=report) as database:
        Ledger(database).record_start("k", ColdStart(1e10, "none"))


# -- migrations ----------------------------------------------------------------------------------------------


def test_a_file_from_before_there_were_versions_is_read_whole(tmp_path: Path) -> None:
    """Every table of it; what was there is in the copy."""
    old_file(tmp_path)
    database = Database(tmp_path)
    ledger, keys = Ledger(database), KeyStore(database)
    failure, tuned = ledger.last_failure("org/m"), ledger.tuned("key")
    assert failure is not None and failure.diagnosis.log_tail == ("one", "twö")
    assert tuned is not None and tuned.blocks == 12
    speculated = ledger.last_speculation("org/m")
    assert speculated is not None and speculated.mode == "draft-simple"
    assert ledger.inert("plan") == "it aborts"
    assert [start.mode for start in ledger.starts("key")] == ["draft-simple"]
    assert [row.tokens for row in ledger.measurements("org/m")] == [20, 20, 20]
    assert [(key.name, key.rpm, key.revoked is None) for key in keys.all()] == [
        ("laptop", 60, True),
        ("old", None, False),
    ]
    assert keys.all()[0].digest == digest("secret-of-the-laptop")
    assert [row["requests"] for row in UsageStore(database).read(["key"])] == [3]
    assert version(tmp_path) == VERSION
    copy = tmp_path / f"{FILE_NAME}.bak"
    (tmp_path / "copy").mkdir()
    copy.rename(tmp_path / "copy" / FILE_NAME)
    assert version(tmp_path / "copy") == 0
    assert execute(tmp_path / "copy", "SELECT name FROM access_key ORDER BY name") == [("laptop",), ("old",)]


def test_tables_that_were_never_made_are_made(tmp_path: Path) -> None:
    """Each was made by its first user; before that, reading it gives nothing."""
    execute(tmp_path, "CREATE TABLE inert (plan TEXT PRIMARY KEY, at REAL NOT NULL, reason TEXT NOT NULL) STRICT")
    write_something(tmp_path)
    database = Database(tmp_path)
    assert not schema.mismatches(sqlite3.connect(tmp_path / FILE_NAME), database.path)
    assert KeyStore(database).all() == ()


def test_a_new_file_is_not_copied(tmp_path: Path) -> None:
    """There is nothing to lose."""
    write_something(tmp_path)
    assert version(tmp_path) == VERSION and not list(tmp_path.glob("*.bak*"))


def test_processes_may_migrate_at_once(tmp_path: Path) -> None:
    """Each writes what it has; one of them migrates."""
    old_file(tmp_path)
    program = (
        "import sys; from pathlib import Path; from app.records.database import Database\n"
        "from app.records.ledger import ColdStart, Ledger\n"
        "from app.auth.key_store import KeyStore; from app.auth.keys import ApiKey\n"
        "with Database(Path(sys.argv[1])) as database:\n"
        "    Ledger(database).record_start('race', ColdStart(1e10, sys.argv[2]))\n"
        "    KeyStore(database).add(ApiKey(sys.argv[2], b'x'))\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    racing = [subprocess.Popen([*command, f"p{n}"], stderr=subprocess.PIPE, text=True) for n in range(4)]
    for process in racing:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")
    database = Database(tmp_path)
    assert sorted(start.mode for start in Ledger(database).starts("race")) == ["p0", "p1", "p2", "p3"]
    assert {key.name for key in KeyStore(database).all()} == {"laptop", "old", "p0", "p1", "p2", "p3"}
    assert not list(tmp_path.glob(".*.bak-*")) and (tmp_path / f"{FILE_NAME}.bak").is_file()


def test_a_migration_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a file that cannot be migrated now is read as it is."""
    old_file(tmp_path)

    def breaks(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        raise sqlite3.OperationalError("broken off")

    monkeypatch.setattr(schema, "_MIGRATIONS", (breaks,))
    assert [key.name for key in KeyStore(Database(tmp_path)).all()] == ["laptop", "old"]
    assert version(tmp_path) == 0
    assert execute(tmp_path, "SELECT name FROM sqlite_master WHERE name = 'half'") == []


def test_a_lock_does_not_keep_an_old_file_from_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is migrated later."""
    old_file(tmp_path)
    monkeypatch.setattr("app.records.database.READ_PATIENCE_S", 0.0)
    with write_lock(tmp_path):
        assert Ledger(Database(tmp_path)).inert("plan") == "it aborts"
        assert version(tmp_path) == 0


# -- versions that are not known -----------------------------------------------------------------------------


def test_a_newer_file_is_refused_by_name(tmp_path: Path) -> None:
    """Neither read nor written: the file, its version, the one that is known, and what to do. Nothing else fails."""
    write_something(tmp_path)
    execute(tmp_path, f"PRAGMA user_version = {VERSION + 6}")
    told: list[str] = []
    with Database(tmp_path, report=told.append) as database:
        assert Ledger(database).starts("k") == []
        Ledger(database).record_start("k", ColdStart(1e10, "none"))
        with pytest.raises(NewerRecordsError) as refused:
            database.write("cold_start", lambda connection: connection.execute("DELETE FROM cold_start"))
    assert told == [f"{refused.value} Until then nothing is recorded."]
    for part in (str(tmp_path / FILE_NAME), f"version {VERSION + 6}", f"up to {VERSION}", "Update llama-tandem"):
        assert part in told[0]
    assert execute(tmp_path, "SELECT count(*) FROM cold_start") == [(1,)]


# -- tables that are off -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE measurement DROP COLUMN tpot", "its column tpot is missing"),
        ("ALTER TABLE measurement ADD COLUMN more TEXT NOT NULL DEFAULT ''", ""),
        ("ALTER TABLE measurement ADD COLUMN more TEXT", ""),
        ("ALTER TABLE measurement RENAME COLUMN mode TO way", "its column mode is missing"),
    ],
)
def test_a_table_that_is_off_is_told_once_by_name(tmp_path: Path, change: str, words: str) -> None:
    """Others are written all the same; columns that do no harm are nobody's business."""
    write_something(tmp_path)
    execute(tmp_path, change)
    told: list[str] = []
    with Database(tmp_path, report=told.append) as database:
        ledger = Ledger(database)
        for _ in range(3):
            ledger.record_measurements([])
            ledger.measurements()
        ledger.record_inert("plan", "it aborts")
    assert ledger.inert("plan") == "it aborts"
    assert len(told) == bool(words)
    if words:
        assert words in told[0] and "table measurement" in told[0] and "DROP TABLE measurement" in told[0]


def test_what_is_told_to_do_about_it_helps(tmp_path: Path) -> None:
    """The table of figures that was dropped is made anew, with its index."""
    write_something(tmp_path)
    execute(tmp_path, "DROP TABLE measurement")
    write_something(tmp_path, report=pytest.fail)
    assert len(execute(tmp_path, "SELECT name FROM sqlite_master WHERE tbl_name = 'measurement'")) == 2


def test_a_table_of_keys_is_never_made_anew(tmp_path: Path) -> None:
    """It would be empty, and open the door."""
    write_something(tmp_path)
    execute(tmp_path, "DROP TABLE access_key")
    told: list[str] = []
    write_something(tmp_path, report=told.append)
    assert "access_key" in told[0] and "backup" in told[0]
    with pytest.raises(TableMismatchError):
        Database(tmp_path).read("access_key", "SELECT name FROM access_key")


def test_a_table_of_an_old_file_that_is_off_stops_no_migration(tmp_path: Path) -> None:
    """The others are made beside it."""
    execute(tmp_path, "CREATE TABLE measurement (name TEXT)")
    told: list[str] = []
    write_something(tmp_path, report=told.append)
    assert version(tmp_path) == VERSION and len(told) == 1 and "measurement" in told[0]


# -- who may read it -----------------------------------------------------------------------------------------


def test_only_its_user_can_read_it(tmp_path: Path) -> None:
    """The files beside it as well, and the copy."""
    old_file(tmp_path).chmod(0o644)
    with ledger_in(tmp_path) as ledger:
        ledger.record_start("k", ColdStart(1e10, "none"))
        ledger._database.write("", lambda connection: None)
        names = {path.name: mode(path) for path in tmp_path.iterdir()}
    assert names == {FILE_NAME + end: 0o600 for end in ("", "-wal", "-shm", ".bak")}


def test_a_new_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    """Whatever the umask."""
    write_something(tmp_path / "state")
    assert mode(tmp_path / "state" / FILE_NAME) == 0o600


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_a_file_that_may_not_be_looked_at_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing there, and not knowing, are two things: with keys the difference is an open door."""

    def refuse(self: Path, **more: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(RecordsError, match=r"Permission denied. Let this user write"):
        Database(tmp_path).read("inert", "SELECT plan FROM inert")


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 200])
def test_a_file_that_is_no_database_is_told(tmp_path: Path, content: bytes) -> None:
    """With what to do; it is left as it is."""
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(RecordsError, match=r"it is not a database. Move it away to start with"):
        Database(tmp_path).read("inert", "SELECT plan FROM inert")
    with Database(tmp_path) as database, pytest.raises(RecordsError, match=r"cannot write .* it is not a database"):
        database.write("inert", lambda connection: None)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_read_only_file_is_read_and_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sqlite says it: whoever runs the tests may be allowed everything."""
    write_something(tmp_path)
    connect = sqlite3.connect

    def reading(*args: Any, **more: Any) -> sqlite3.Connection:
        connection = connect(*args, **more)
        connection.execute("PRAGMA query_only = 1")
        return connection

    monkeypatch.setattr(sqlite3, "connect", reading)
    with Database(tmp_path) as database, pytest.raises(RecordsError, match=r"it is read-only. Let this user write"):
        database.write("inert", lambda connection: connection.execute("DELETE FROM inert"))
    assert len(Ledger(Database(tmp_path)).starts("k")) == 1
