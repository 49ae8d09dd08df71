"""Stores responses that clients may continue, in a file of their own, since they hold what was said.

Only the file's user can read it. It holds at most `LIMIT_BYTES`; the oldest rows are deleted first. Deleted rows are
overwritten. A thread writes, but a response can be read as soon as it was put.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from app.records.connection import connect, create, exists, leads_to
from app.records.database import CLOSE_WITHIN_S, READ_PATIENCE_S, WRITE_PATIENCE_S
from app.records.database_errors import WarningReporter, in_words
from app.records.writer import OpenedDatabase, Writer

FILE_NAME = "responses.sqlite3"
LIMIT_BYTES = 1 << 30
# The share of the limit for rows. Pages and the index take the rest.
_SHARE_OF_ROWS = 0.9
_PAGE_BYTES = 4096
_TABLE = """CREATE TABLE IF NOT EXISTS response (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL, previous TEXT, size INTEGER NOT NULL,
    items BLOB NOT NULL, body BLOB NOT NULL
) STRICT"""
_INDEX = "CREATE INDEX IF NOT EXISTS response_by_age ON response (expires, size, owner)"
_CHAIN = """WITH RECURSIVE chain(id) AS (
    SELECT ? UNION SELECT previous FROM response JOIN chain USING (id) WHERE previous IS NOT NULL
) """


class StoredResponse(msgspec.Struct, frozen=True):
    """`items` are the input items of this request only, `body` is the response, JSON each.

    `expires` is since the epoch.
    """

    response_id: str
    owner: str
    expires: float
    previous: str | None
    items: bytes
    body: bytes

    @property
    def size(self) -> int:
        return len(self.items) + len(self.body)


class ResponseStore:
    """Creates no file and starts no thread before the first response. Raises RecordsError if it cannot read."""

    def __init__(
        self,
        state_dir: Path,
        *,
        report: Callable[[str], None],
        limit: int = LIMIT_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = state_dir / FILE_NAME
        self._limit = limit
        self._clock = clock
        self._warnings = WarningReporter(report, time.monotonic)
        self._writer = Writer(self._open, lambda error: in_words("write", self.path, error), self._warnings)
        # Put, but not written yet
        self._pending: dict[str, StoredResponse] = {}

    # -- without waiting ---------------------------------------------------------------------------------------

    def put(self, response: StoredResponse) -> None:
        """Stores a response, and prolongs the life of those that it continues."""
        self._pending[response.response_id] = response

        def write(connection: sqlite3.Connection) -> None:
            values = (response.response_id, response.owner, response.expires, response.previous, response.size)
            _make_room(connection, response.size, int(self._limit * _SHARE_OF_ROWS), self._clock())
            insert = "INSERT OR REPLACE INTO response VALUES (?, ?, ?, ?, ?, ?, ?)"
            connection.execute(insert, (*values, response.items, response.body))
            if response.previous is not None:
                update = f"{_CHAIN} UPDATE response SET expires = ? WHERE id IN chain AND owner = ?"
                connection.execute(update, (response.previous, response.expires, response.owner))

        def written(done: object) -> None:
            self._pending.pop(response.response_id, None)

        future = self._writer.submit("response", write, WRITE_PATIENCE_S)
        future.add_done_callback(written)
        future.add_done_callback(lambda done: self._lost(done.exception()))

    def forget(self, owners: Iterable[str]) -> None:
        """Deletes expired responses, and those of owners other than these and requests without a key."""
        known = ("", *owners)

        def write(connection: sqlite3.Connection) -> None:
            marks = ", ".join("?" * len(known))
            query = f"DELETE FROM response WHERE expires < ? OR owner NOT IN ({marks})"
            connection.execute(query, (self._clock(), *known))

        for response in list(self._pending.values()):
            if response.owner not in known:
                self._pending.pop(response.response_id, None)
        self._writer.put("response", write)

    # -- in a thread -------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Tells whether a response was ever stored."""
        return exists(self.path)

    def get(self, response_id: str, owner: str) -> StoredResponse | None:
        if (pending := self._pending.get(response_id)) is not None:
            return pending if pending.owner == owner else None
        try:
            if not exists(self.path):
                return None
            with closing(connect(self.path, READ_PATIENCE_S)) as connection:
                # The writer may have created the file, but no table yet
                if connection.execute("PRAGMA schema_version").fetchone() == (0,):
                    return None
                query = """SELECT id, owner, expires, previous, items, body FROM response
                    WHERE id = ? AND owner = ? AND expires >= ?"""
                row = connection.execute(query, (response_id, owner, self._clock())).fetchone()
        except (sqlite3.Error, OSError) as error:
            raise in_words("read", self.path, error) from None
        return None if row is None else StoredResponse(*row)

    def chain(self, response_id: str, owner: str) -> list[StoredResponse] | str:
        """Returns a response and its predecessors, oldest first, or the id of a missing one."""
        responses: list[StoredResponse] = []
        next_id: str | None = response_id
        while next_id is not None:
            response = self.get(next_id, owner)
            if response is None:
                return next_id
            responses.append(response)
            next_id = response.previous
        return responses[::-1]

    def delete(self, response_id: str, owner: str) -> bool:
        """Deletes a response. Returns whether it existed. Raises RecordsError."""

        def write(connection: sqlite3.Connection) -> bool:
            query = "DELETE FROM response WHERE id = ? AND owner = ? AND expires >= ?"
            return connection.execute(query, (response_id, owner, self._clock())).rowcount > 0

        if not exists(self.path) and response_id not in self._pending:
            return False
        deleted: bool = self._writer.submit("response", write, WRITE_PATIENCE_S).result()
        return deleted

    def close(self) -> None:
        """Writes the rest, within a few seconds."""
        self._writer.close(CLOSE_WITHIN_S)

    def _lost(self, error: BaseException | None) -> None:
        if error is not None:
            self._warnings.say(f"could not store a response: {error}")

    def _open(self) -> OpenedDatabase:
        new = not exists(self.path)
        create(self.path)
        connection = connect(self.path, 1.0, any_thread=True)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            if new:
                connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                connection.execute("PRAGMA auto_vacuum = FULL")
            connection.execute(f"PRAGMA max_page_count = {max(16, self._limit // _PAGE_BYTES)}")
            connection.execute(_TABLE)
            connection.execute(_INDEX)
            file = self.path.stat()
        except BaseException:
            connection.close()
            raise
        return OpenedDatabase(connection, {}, lambda: leads_to(self.path, file))


def _make_room(connection: sqlite3.Connection, size: int, limit: int, now: float) -> None:
    """Deletes expired rows, then the oldest, until `size` more bytes fit."""
    connection.execute("DELETE FROM response WHERE expires < ?", (now,))
    [held] = connection.execute("SELECT ifnull(sum(size), 0) FROM response").fetchone()
    excess = held + size - limit
    if excess <= 0:
        return
    oldest = connection.execute("SELECT rowid, size FROM response ORDER BY expires, rowid").fetchall()
    for rowid, row_size in oldest:
        if excess <= 0:
            return
        connection.execute("DELETE FROM response WHERE rowid = ?", (rowid,))
        excess -= row_size
