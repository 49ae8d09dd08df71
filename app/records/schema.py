"""The tables of the database, their migrations, and a check of a file's tables.

`PRAGMA user_version` counts a file's migrations. Version 0 is an empty file, or one from before versions existed: its
first user created each table, so any table may be missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from app.errors import NewerRecordsError
from app.records.connection import back_up, transaction

KEYS_TABLE = "access_key"

_TABLES_OF_VERSION_1 = (
    """CREATE TABLE IF NOT EXISTS last_failure (
        alias TEXT PRIMARY KEY, at REAL NOT NULL, code TEXT NOT NULL, cause TEXT NOT NULL, advice TEXT NOT NULL,
        permanent INTEGER NOT NULL, log TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS last_speculation (
        alias TEXT PRIMARY KEY, at REAL NOT NULL, requested TEXT NOT NULL, active INTEGER NOT NULL, mode TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS measurement (
        alias TEXT NOT NULL, key TEXT NOT NULL, mode TEXT NOT NULL, at REAL NOT NULL, in_flight INTEGER NOT NULL,
        ttft REAL, tpot REAL, seconds REAL NOT NULL, tokens INTEGER NOT NULL, drafted INTEGER, accepted INTEGER
    ) STRICT""",
    "CREATE TABLE IF NOT EXISTS cold_start (key TEXT NOT NULL, at REAL NOT NULL, mode TEXT NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS inert (plan TEXT PRIMARY KEY, at REAL NOT NULL, reason TEXT NOT NULL) STRICT",
    """CREATE TABLE IF NOT EXISTS tuned (
        key TEXT PRIMARY KEY, alias TEXT NOT NULL, at REAL NOT NULL, partial INTEGER NOT NULL,
        recommended TEXT NOT NULL, arms TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS usage (
        key TEXT NOT NULL, alias TEXT NOT NULL, day TEXT NOT NULL, requests INTEGER NOT NULL,
        tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cached INTEGER NOT NULL, drafted INTEGER NOT NULL,
        seconds REAL NOT NULL, PRIMARY KEY (key, alias, day)
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS access_key (
        name TEXT PRIMARY KEY, digest BLOB NOT NULL, models TEXT NOT NULL, admin INTEGER NOT NULL, rpm INTEGER,
        tpm INTEGER, concurrency INTEGER, created REAL NOT NULL, expires REAL, revoked REAL
    ) STRICT""",
)
_INDEX_OF_VERSION_1 = "CREATE INDEX IF NOT EXISTS measurement_by_alias ON measurement (alias, at)"


def _to_version_1(connection: sqlite3.Connection) -> None:
    """Adds missing tables. Existing ones have had the same columns since their first version."""
    for statement in _TABLES_OF_VERSION_1:
        connection.execute(statement)
    # `mismatches` reports a table with other columns. It must not prevent the others.
    with suppress(sqlite3.OperationalError):
        connection.execute(_INDEX_OF_VERSION_1)


def _to_version_2(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE IF NOT EXISTS footprint (
            plan TEXT NOT NULL, place TEXT NOT NULL, size INTEGER NOT NULL, mapped INTEGER NOT NULL,
            source TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (plan, place)
        ) STRICT"""
    )


# Append only. Later versions must keep the keys in `access_key`: an older build then sees by its rows that keys exist.
_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_to_version_1, _to_version_2)
VERSION = len(_MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """Returns the number of the file's migrations. Raises sqlite3.Error."""
    [version] = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Returns the version if this build knows it. Raises NewerRecordsError or sqlite3.Error."""
    version = version_of(connection)
    if version > VERSION:
        raise NewerRecordsError(path, version, VERSION)
    return version


def has_table(connection: sqlite3.Connection, name: str | None = None) -> bool:
    """Tells whether a table of this name, or any table, exists. Raises sqlite3.Error."""
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ifnull(?, name)"
    [count] = connection.execute(query, (name,)).fetchone()
    return bool(count)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Migrates the file at `path` to VERSION. Several processes may do so at once. `connection` is in no transaction.

    A file with tables is copied to `.bak` first. Raises NewerRecordsError, sqlite3.Error or OSError. Each migration is
    then complete or undone.
    """
    if check_version(connection, path) == VERSION:
        return
    connection.execute("PRAGMA journal_mode=WAL")
    backed_up = False
    while check_version(connection, path) < VERSION:
        with transaction(connection):
            # Checked again: another process may have migrated it while this one waited for the lock.
            version = check_version(connection, path)
            if version < VERSION:
                if not backed_up and has_table(connection):
                    back_up(path)
                backed_up = True
                _MIGRATIONS[version](connection)
                connection.execute(f"PRAGMA user_version = {version + 1}")


def mend(connection: sqlite3.Connection) -> None:
    """Recreates dropped tables of figures. Raises sqlite3.Error.

    It never recreates the table of keys: that would be empty, and without keys the gateway is open.
    """
    with closing(_as_it_should_be()) as model:
        tables = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name != ?"
        missing = {name: sql for name, sql in model.execute(tables, (KEYS_TABLE,)) if not has_table(connection, name)}
        of_table = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?"
        indexes = {name: [sql for (sql,) in model.execute(of_table, (name,))] for name in missing}
    if not missing:
        return
    with transaction(connection):
        for name, statement in missing.items():
            # Checked again: another process may have been faster.
            if not has_table(connection, name):
                for each in (statement, *indexes[name]):
                    connection.execute(each)


def mismatches(connection: sqlite3.Connection, path: Path) -> Mapping[str, str]:
    """Maps each unusable table to its problem and the remedy. Raises sqlite3.Error."""
    with closing(_as_it_should_be()) as model:
        names = [name for (name,) in model.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        differences = {name: _difference(_columns(model, name), _columns(connection, name)) for name in names}
    return {name: _advice(path, name, difference) for name, difference in differences.items() if difference}


def _advice(path: Path, table: str, difference: str) -> str:
    if table == KEYS_TABLE:
        fix = f"Restore {path} from a backup, or move it away and create the keys again."
    else:
        fix = f"Remove the table: sqlite3 {path} 'DROP TABLE {table}'; the next start recreates it, empty."
    return f"cannot use the table {table} of {path}: {difference}. {fix}"


# By column name: type, NOT NULL, position in the primary key, and default.
_Columns = dict[str, tuple[str, bool, int, bool]]


def _columns(connection: sqlite3.Connection, table: str) -> _Columns:
    rows = connection.execute('SELECT name, type, "notnull", pk, dflt_value FROM pragma_table_info(?)', (table,))
    return {name: (kind, bool(needed), place, default is not None) for name, kind, needed, place, default in rows}


def _difference(expected: _Columns, actual: _Columns) -> str:
    """Describes the difference. Returns "" if every statement of this build works on the actual columns."""
    if not actual:
        return "it is missing"
    for name, column in expected.items():
        if name not in actual:
            return f"its column {name} is missing"
        if actual[name][:3] != column[:3]:
            return f"its column {name} is another ({actual[name][0]} instead of {column[0]}, or other constraints)"
    for name in actual.keys() - expected.keys():
        _, needed, place, default = actual[name]
        if place or (needed and not default):
            return f"it has a column {name} that this version does not fill"
    return ""


def _as_it_should_be() -> sqlite3.Connection:
    """Returns an empty database of VERSION in memory."""
    model = sqlite3.connect(":memory:", isolation_level=None)
    for migration in _MIGRATIONS:
        migration(model)
    return model
