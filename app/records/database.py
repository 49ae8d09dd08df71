"""The embedded database in `state_dir`, for data that must outlive a restart. Ledger, keys and usage use it.

One thread writes (`writer.py`). Callers read by themselves, in an event loop through a thread. Another process may
read, write and migrate the file at the same time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from app.errors import NewerRecordsError, RecordsError, TableMismatchError
from app.records.connection import connect, create, exists, leads_to, private
from app.records.database_errors import WarningReporter, concerns_all, in_words
from app.records.schema import VERSION, check_version, has_table, mend, migrate, mismatches, version_of
from app.records.writer import NOT_RECORDED, FigureSource, OpenedDatabase, Work, Writer

FILE_NAME = "ledger.sqlite3"
# Seconds that a reader, a blocking writer, and the end of the process wait for another process's lock.
READ_PATIENCE_S, WRITE_PATIENCE_S, CLOSE_WITHIN_S = 1.0, 5.0, 3.0
# The thread has time, but the end of the process waits for it.
_LOCK_PATIENCE_S = 1.0

T = TypeVar("T")
Row = tuple[Any, ...]


class Database:
    """Creates no file and starts no thread before the first write. `report` gets messages, by default the log."""

    def __init__(
        self,
        state_dir: Path,
        *,
        report: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = state_dir / FILE_NAME
        self.warnings = WarningReporter(report or _log, clock)
        self.writer = Writer(self._open_to_write, self._explain, self.warnings, clock)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------------------------------

    def record(self, table: str, work: Work) -> None:
        """Queues a write. Never waits or raises: it retries later, or reports the loss."""
        self.writer.put(table, work)

    def write(self, table: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Blocks until `work` is written. Raises RecordsError or the error of `work`; nothing is written then."""
        result: T = self.writer.submit(table, work, WRITE_PATIENCE_S).result()
        return result

    def add_source(self, source: FigureSource) -> None:
        """Adds a source of figures, which the writer takes once a second after `due`."""
        self.writer.add_source(source)

    def due(self) -> None:
        """Tells the writer that a source has figures. Never waits."""
        self.writer.due()

    def close(self) -> None:
        """Blocks until everything is written, at most CLOSE_WITHIN_S."""
        self.writer.close(CLOSE_WITHIN_S)

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, table: str, query: str, *values: Any) -> list[Row]:
        """Returns the rows of a query on `table`. Blocks. Returns none if the file, or an old file's table, is missing.

        Raises NewerRecordsError, TableMismatchError, or another RecordsError.
        """
        try:
            if not exists(self.path):
                return []
            with closing(connect(self.path, READ_PATIENCE_S)) as connection:
                # In later versions all tables exist, or the file is damaged.
                if self._prepared(connection) == 0 and not has_table(connection, table):
                    return []
                return self._rows(connection, table, query, values)
        except (sqlite3.Error, OSError) as error:
            raise in_words("read", self.path, error) from None

    def read_if_possible(self, table: str, query: str, *values: Any) -> list[Row]:
        """As `read`, for callers that continue without the data: an error is reported, and returns no rows."""
        try:
            return self.read(table, query, *values)
        except RecordsError as error:
            self.warn(error)
            return []

    def is_empty(self, table: str) -> bool:
        """Tells whether the table exists and has no rows, in a file of any version. Returns False if unsure."""
        with suppress(sqlite3.Error, OSError), closing(connect(self.path, READ_PATIENCE_S)) as connection:
            [rows] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            return bool(rows == 0)
        return False

    def warn(self, error: RecordsError) -> None:
        """Reports a failed read."""
        if isinstance(error, NewerRecordsError):
            self.warnings.once(f"{error} {NOT_RECORDED}")
        elif isinstance(error, TableMismatchError):
            self.warnings.once(str(error))
        else:
            self.warnings.say(str(error))

    def _prepared(self, connection: sqlite3.Connection) -> int:
        """Returns the file's version, after a migration if possible. Raises NewerRecordsError or sqlite3.Error."""
        if check_version(connection, self.path) < VERSION and has_table(connection):
            # A file that cannot be migrated now is read as it is.
            with suppress(sqlite3.Error, OSError):
                migrate(connection, self.path)
        return version_of(connection)

    def _rows(self, connection: sqlite3.Connection, table: str, query: str, values: Sequence[Any]) -> list[Row]:
        try:
            return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if not concerns_all(error) and (advice := mismatches(connection, self.path).get(table)):
                raise TableMismatchError(advice) from None
            raise

    # -- the writer's connection -----------------------------------------------------------------------------

    def _open_to_write(self) -> OpenedDatabase:
        """Opens and migrates the file. Raises NewerRecordsError, sqlite3.Error or OSError."""
        create(self.path)
        # A test may call the writer from several threads.
        connection = connect(self.path, _LOCK_PATIENCE_S, any_thread=True)
        try:
            file = self.path.stat()
            migrate(connection, self.path)
            mend(connection)
            unusable = dict(mismatches(connection, self.path))
            if not private(self.path):
                self.warnings.once(
                    f"others can read {self.path}: its owner is another user. Run chmod 600 as that user."
                )
        except BaseException:
            connection.close()
            raise
        for advice in unusable.values():
            self.warnings.once(advice)
        return OpenedDatabase(connection, unusable, lambda: leads_to(self.path, file))

    def _explain(self, error: Exception) -> RecordsError:
        return in_words("write", self.path, error)


def _log(text: str) -> None:
    from app import logs  # Imported late: commands that only read do not need it

    logs.get_logger("ledger").warning(text)
