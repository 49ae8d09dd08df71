"""Stores API keys in the database. Unlike figures, a key that cannot be read or written is an error."""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from typing import Any

from app.auth.keys import ApiKey
from app.errors import ConfigError, NewerRecordsError, RecordsError, UnreadableKeysError
from app.records.database import Database
from app.records.schema import KEYS_TABLE
from app.records.watch import ChangeWatch

_COLUMNS = tuple(field.name for field in fields(ApiKey))


class KeyStore:
    """Every method except `changed` and `close` blocks, and raises ConfigError if the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch = ChangeWatch(database.path)

    def add(self, key: ApiKey) -> None:
        """Adds a key. Refuses the name of a valid key, but not of a revoked one."""
        values: dict[str, Any] = {name: getattr(key, name) for name in _COLUMNS} | {"models": ",".join(key.models)}

        def work(connection: sqlite3.Connection) -> None:
            valid = f"SELECT count(*) FROM {KEYS_TABLE} WHERE name = ? AND revoked IS NULL"
            [taken] = connection.execute(valid, (key.name,)).fetchone()
            if taken:
                raise ConfigError([f"A key named {key.name} exists. Revoke it, or choose another name."])
            places = ", ".join(f":{name}" for name in _COLUMNS)
            statement = f"INSERT OR REPLACE INTO {KEYS_TABLE} ({', '.join(_COLUMNS)}) VALUES ({places})"
            connection.execute(statement, values)

        try:
            self._database.write(KEYS_TABLE, work)
        except RecordsError as error:
            raise ConfigError([f"The key was not created: {error}"]) from None

    def revoke(self, name: str, at: float) -> None:
        """Revokes a key. Its row stays, so a gateway that had keys never opens without one.

        `at` is in seconds since the epoch.
        """
        statement = f"UPDATE {KEYS_TABLE} SET revoked = ? WHERE name = ? AND revoked IS NULL"
        try:
            count = self._database.write(KEYS_TABLE, lambda database: database.execute(statement, (at, name)).rowcount)
        except RecordsError as error:
            raise ConfigError([f"The key was not revoked: {error}"]) from None
        if not count:
            raise ConfigError([f"There is no key named {name}. `llama-tandem keys list` lists all keys."])

    def all(self) -> tuple[ApiKey, ...]:
        """Returns all keys, oldest first, revoked ones included. Raises UnreadableKeysError on any failure.

        A later version's file counts as one without keys only if its key table exists and has no rows.
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
        """Tells whether the database was written since the last call.

        True at the first call that finds the file. Blocks.
        """
        return self._watch.changed()

    def close(self) -> None:
        self._watch.close()


def _key(columns: dict[str, Any]) -> ApiKey:
    return ApiKey(**columns | {"models": tuple(columns["models"].split(",")), "admin": bool(columns["admin"])})
