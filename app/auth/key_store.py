"""Keys in the ledger's database. Unlike its figures they are told when they cannot be read or written."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path

from app.auth.keys import Key
from app.errors import ConfigError
from app.records.ledger import FILE_NAME

_SCHEMA = """
CREATE TABLE IF NOT EXISTS access_key (
    name TEXT PRIMARY KEY, digest BLOB NOT NULL, models TEXT NOT NULL, admin INTEGER NOT NULL, rpm INTEGER, tpm INTEGER,
    concurrency INTEGER, created REAL NOT NULL, expires REAL, revoked REAL
) STRICT;
"""
_COLUMNS = ", ".join(field.name for field in fields(Key))
_BUSY_S = 5.0


class KeyStore:
    """Every method raises ConfigError in words where the database does not do its part."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME
        self._watching: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None
        # `changed` runs in a thread, and `close` in another
        self._lock = threading.Lock()

    def add(self, key: Key) -> None:
        """A revoked key's name may be used again; a valid one's is refused."""
        with self._writing() as database:
            [taken] = database.execute(
                "SELECT count(*) FROM access_key WHERE name = ? AND revoked IS NULL", (key.name,)
            ).fetchone()
            if taken:
                raise ConfigError([f"There is a key named {key.name} already; revoke it, or choose another name."])
            row = (*(getattr(key, field.name) for field in fields(Key)),)
            row = (row[0], row[1], ",".join(key.models), *row[3:])
            places = ", ".join("?" * len(row))
            database.execute(f"INSERT OR REPLACE INTO access_key ({_COLUMNS}) VALUES ({places})", row)

    def revoke(self, name: str, at: float) -> None:
        """The row stays: who had keys once is not open to everybody because the last one went."""
        with self._writing() as database:
            done = database.execute(
                "UPDATE access_key SET revoked = ? WHERE name = ? AND revoked IS NULL", (at, name)
            ).rowcount
        if not done:
            raise ConfigError([f"There is no key named {name}; `llama-tandem keys list` shows those that there are."])

    def all(self) -> tuple[Key, ...]:
        """Revoked ones too, oldest first."""
        if not self._path.is_file():
            return ()
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as database:
                rows = database.execute(f"SELECT {_COLUMNS} FROM access_key ORDER BY created, name").fetchall()
        except sqlite3.Error as error:
            if "no such table" in str(error):
                return ()
            raise ConfigError([self._words("read", error)]) from None
        return tuple(Key(r[0], r[1], tuple(r[2].split(",")), bool(r[3]), *r[4:]) for r in rows)

    def changed(self) -> bool:
        """Whether anybody wrote to the database since the last call; true at the first one that finds it."""
        with self._lock:
            try:
                return self._look()
            except (sqlite3.Error, OSError):
                # In the way of a writer, or gone: the next look tells.
                self._forget()
                return False

    def _look(self) -> bool:
        if not self._path.is_file():
            self._forget()
            gone, self._seen = self._seen is not None, None
            return gone
        inode = self._path.stat().st_ino
        if self._watching is None or self._seen is None or self._seen[0] != inode:
            self._forget()
            self._watching = sqlite3.connect(self._path, timeout=0, check_same_thread=False)
            self._seen = (inode, -1)
        [version] = self._watching.execute("PRAGMA data_version").fetchone()
        before, self._seen = self._seen, (inode, version)
        return before != self._seen

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._watching is not None:
            self._watching.close()
            self._watching = None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as database:
                database.execute("PRAGMA journal_mode=WAL")
                database.executescript(_SCHEMA)
                with database:
                    yield database
        except (sqlite3.Error, OSError) as error:
            raise ConfigError([self._words("written", error)]) from None

    def _words(self, what: str, error: Exception) -> str:
        return f"{self._path}: the keys in it cannot be {what} ({error}); move it away to begin anew."
