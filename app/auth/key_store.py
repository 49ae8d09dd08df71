"""API keys in the database. Unlike figures, a key that cannot be read or written is an error."""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from typing import Any

from app.auth.keys import Key
from app.errors import ConfigError, NewerRecordsError, RecordsError, UnreadableKeysError
from app.records.database import Database
from app.records.schema import KEYS_TABLE
from app.records.watch import ChangeWatch

_COLUMNS = tuple(field.name for field in fields(Key))


class KeyStore:
    """Every method but `changed` and `close` blocks, and raises ConfigError where the database does not do its part."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch = ChangeWatch(database.path)

    def add(self, key: Key) -> None:
        """A revoked key's name may be used again; a valid one's is refused."""
        values: dict[str, Any] = {name: getattr(key, name) for name in _COLUMNS} | {"models": ",".join(key.models)}

        def work(connection: sqlite3.Connection) -> None:
            valid = f"SELECT count(*) FROM {KEYS_TABLE} WHERE name = ? AND revoked IS NULL"
            [taken] = connection.execute(valid, (key.name,)).fetchone()
            if taken:
                raise ConfigError([f"There is a key named {key.name} already; revoke it, or choose another name."])
            places = ", ".join(f":{name}" for name in _COLUMNS)
            statement = f"INSERT OR REPLACE INTO {KEYS_TABLE} ({', '.join(_COLUMNS)}) VALUES ({places})"
            connection.execute(statement, values)

        try:
            self._database.write(KEYS_TABLE, work)
        except RecordsError as error:
            raise ConfigError([f"The key is not made: {error}"]) from None

    def revoke(self, name: str, at: float) -> None:
        """The row stays: who had keys once is not open to everybody because the last one went.

        `at` is in seconds since the epoch.
        """
        statement = f"UPDATE {KEYS_TABLE} SET revoked = ? WHERE name = ? AND revoked IS NULL"
        try:
            count = self._database.write(KEYS_TABLE, lambda database: database.execute(statement, (at, name)).rowcount)
        except RecordsError as error:
            raise ConfigError([f"The key is not revoked: {error}"]) from None
        if not count:
            raise ConfigError([f"There is no key named {name}; `llama-tandem keys list` shows those that there are."])

    def all(self) -> tuple[Key, ...]:
        """Revoked ones too, oldest first. Raises UnreadableKeysError, never gives none after a failure.

        A file of a later version counts as one without keys only if its table is there, and has no rows.
        """
        try:
            rows = self._database.read(
                KEYS_TABLE, f"SELECT {', '.join(_COLUMNS)} FROM {KEYS_TABLE} ORDER BY created, name"
            )
        except RecordsError as error:
            newer = isinstance(error, NewerRecordsError)
            if newer and self._database.is_empty(KEYS_TABLE):
                self._database.warn(error)
                return ()
            raise UnreadableKeysError(str(error), newer=newer) from None
        return tuple(_key(dict(zip(_COLUMNS, row, strict=True))) for row in rows)

    def changed(self) -> bool:
        """Whether anybody wrote to the database since the last call; true at the first one that finds it. Blocks."""
        return self._watch.changed()

    def close(self) -> None:
        self._watch.close()


def _key(columns: dict[str, Any]) -> Key:
    return Key(**columns | {"models": tuple(columns["models"].split(",")), "admin": bool(columns["admin"])})
