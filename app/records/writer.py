"""The one thread that writes to the database. It writes all queued items in one transaction, and retries on failure.

Only `submit` waits for it. It starts with the first item.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from app.errors import NewerRecordsError, RecordsError, TableMismatchError
from app.records.connection import transaction
from app.records.database_errors import WarningReporter, concerns_all, is_busy

# Figures are written at most this often. `kill -9` loses as much.
EVERY_S = 1.0
# After a failure, doubling
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 30.0
# Limit of queued items (failures, starts and the like) while the database fails. The oldest are dropped.
MOST_WAITING = 1000

Work = Callable[[sqlite3.Connection], Any]
NOT_RECORDED = "Until then nothing is recorded."
_TOO_MANY = "cannot write records fast enough: too many wait."
_ENDING = "cannot write records: this process is ending. Try again."


class FigureSource(Protocol):
    """Sums figures in memory until the writer takes them."""

    table: str

    def take(self) -> Work | None:
        """Returns the work that writes all figures since the last call, or None. Called on the writer's thread.

        The work may run several times, until it succeeds. A source limits its own memory meanwhile.
        """


@dataclass(frozen=True, slots=True)
class OpenedDatabase:
    """A migrated connection, and its unusable tables: name -> reason."""

    connection: sqlite3.Connection
    unusable: dict[str, str]
    # Whether the path still leads to this connection's file
    in_place: Callable[[], bool]


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    table: str
    work: Work
    # Set if a caller waits, until `deadline` by the writer's clock
    future: Future[Any] | None = None
    deadline: float = inf

    def report(self, result: Any, error: Exception | None) -> None:
        if self.future is None or self.future.done():
            return
        if isinstance(error, sqlite3.Error):
            self.future.set_exception(RecordsError(f"cannot write the table {self.table}: {error}."))
        elif error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


_Outcome = tuple[Any, Exception | None]


class Writer:
    """`open_file` returns a connection for the writer's thread. It raises RecordsError, sqlite3.Error or OSError.

    `explain` converts an error to a RecordsError. `turn` is one step of the thread, which a test may call instead.
    """

    def __init__(
        self,
        open_file: Callable[[], OpenedDatabase],
        explain: Callable[[Exception], RecordsError],
        warnings: WarningReporter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_file = open_file
        self._explain = explain
        self._warnings = warnings
        self._clock = clock
        self._sources: list[FigureSource] = []
        # Shared, under `_wake`
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._queue: deque[_Item] = deque()
        self._batch: list[_Item] = []
        self._due_at: float | None = None
        self._retry_at = -inf
        self._ends_at: float | None = None
        # Used by the thread only
        self._opened: OpenedDatabase | None = None
        self._failures = 0

    # -- for any thread --------------------------------------------------------------------------------------

    def add_source(self, source: FigureSource) -> None:
        """Adds a source, before the first `due`."""
        self._sources.append(source)

    def due(self) -> None:
        """Tells that a source has figures. They are written within `EVERY_S`."""
        # Takes the lock once a second only. The thread resets the flag before it takes the figures, so none is missed.
        if self._due_at is None:
            with self._wake:
                if self._due_at is None:
                    self._due_at = self._clock() + EVERY_S
                    self._start()

    def put(self, table: str, work: Work) -> None:
        """Queues work, written at once if possible, else later. Drops the oldest if the queue is full."""
        with self._wake:
            self._queue.append(_Item(table, work))
            dropped = self._queue.popleft() if len(self._queue) > MOST_WAITING else None
            self._start()
        if dropped is not None:
            dropped.report(None, RecordsError(f"{_TOO_MANY} Try again."))
            self._warnings.say(_TOO_MANY, lost=1)

    def submit(self, table: str, work: Work, patience_s: float) -> Future[Any]:
        """Returns or raises the result of `work`. Raises RecordsError if it could not be written.

        It waits `patience_s` for another process's lock. Other errors are raised at once.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # A partly written item cannot be cancelled
        item = _Item(table, work, future, self._clock() + patience_s)
        with self._wake:
            self._queue.append(item)
            self._start()
            ended = self._ends_at is not None and self._thread is None
        if ended:
            item.report(None, RecordsError(_ENDING))
        return future

    def close(self, within_s: float) -> None:
        """Writes the rest within the time limit. Reports what is lost."""
        with self._wake:
            self._ends_at = self._clock() + within_s
            self._retry_at = -inf
            self._wake.notify()
            thread = self._thread
        if thread is not None:
            # A statement that waits for a lock at the deadline may take a moment longer.
            thread.join(within_s + 2 * FIRST_RETRY_S)
        with self._wake:
            lost = [*self._batch, *self._queue]
            self._batch, self._thread = [], None
            self._queue.clear()
        for item in lost:
            item.report(None, RecordsError(_ENDING))
        if lost:
            self._warnings.once(f"records are lost at the end: {len(lost)} could not be written within {within_s:g} s.")

    def _start(self) -> None:
        if self._thread is None and self._ends_at is None:
            self._thread = threading.Thread(target=self._run, name="records", daemon=True)
            self._thread.start()
        self._wake.notify()

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._next():
                self.turn()
        finally:
            self._forget()

    def _next(self) -> bool:
        """Waits until there is work. Returns False at the end."""
        with self._wake:
            while True:
                at, now = self._due(), self._clock()
                if self._ends_at is not None and (at is None or now >= self._ends_at):
                    return False
                if at is not None and at <= now:
                    return True
                until = at if self._ends_at is None or at is None else min(at, self._ends_at)
                self._wake.wait(None if until is None else until - now)

    def _due(self) -> float | None:
        """Returns the time of the next turn, or None while nothing waits."""
        if self._batch or self._queue:
            return min(self._retry_at, *(item.deadline for item in (*self._batch, *self._queue)))
        return self._due_at if self._ends_at is None or self._due_at is None else -inf

    def turn(self) -> None:
        """Tries once to write all queued work. Never raises."""
        batch = self._gather()
        if not batch:
            return
        try:
            outcomes = self._write(batch)
        except (sqlite3.Error, OSError, RecordsError) as error:
            self._failed(error)
        else:
            self._written(batch, outcomes)

    def _gather(self) -> list[_Item]:
        """Returns work that failed in the last turn first, and alone. Sources continue to sum meanwhile."""
        with self._wake:
            if self._batch:
                return self._batch
            self._batch = list(self._queue)
            self._queue.clear()
            self._due_at = None
        taken = [_Item(source.table, work) for source in self._sources if (work := self._take(source)) is not None]
        with self._wake:
            self._batch += taken
            return self._batch

    def _take(self, source: FigureSource) -> Work | None:
        try:
            return source.take()
        except Exception as error:  # Any error, since this thread is the only writer
            self._warnings.say(f"cannot record in the table {source.table}: {error!r}.")
            return None

    def _write(self, batch: list[_Item]) -> list[_Outcome]:
        if self._opened is not None and not self._opened.in_place():
            # A file that was moved away is never read again.
            self._forget()
        if self._opened is None:
            self._opened = self._open_file()
        opened = self._opened
        with transaction(opened.connection):
            return [self._write_item(opened, item) for item in batch]

    def _write_item(self, opened: OpenedDatabase, item: _Item) -> _Outcome:
        """Writes one item alone, so that a failing item does not block the others."""
        if item.table in opened.unusable:
            return None, TableMismatchError(opened.unusable[item.table])
        connection = opened.connection
        connection.execute("SAVEPOINT item")
        try:
            outcome: _Outcome = item.work(connection), None
        except Exception as error:  # Any error, since this thread is the only writer
            if concerns_all(error):
                raise
            connection.execute("ROLLBACK TO item")
            outcome = None, error
        connection.execute("RELEASE item")
        return outcome

    def _written(self, batch: list[_Item], outcomes: list[_Outcome]) -> None:
        with self._wake:
            self._batch, self._retry_at = [], -inf
        self._failures = 0
        for item, (result, error) in zip(batch, outcomes, strict=True):
            item.report(result, error)
            # An unusable table was reported by name.
            if item.future is None and error is not None and not isinstance(error, TableMismatchError):
                self._warnings.say(f"cannot record in the table {item.table}: {error}.", lost=1)

    def _failed(self, error: Exception) -> None:
        """Schedules a retry with a new connection, since the file may have been replaced."""
        self._forget()
        self._failures += 1
        reason = self._explain(error)
        with self._wake:
            now = self._clock()
            delay = min(FIRST_RETRY_S * 2 ** min(self._failures - 1, 20), LONGEST_RETRY_S)
            self._retry_at = now + (FIRST_RETRY_S if self._ends_at is not None else delay)
            hopeless = [item for item in self._batch if item.future is not None and not is_busy(error)]
            late = [item for item in (*self._batch, *self._queue) if item.deadline <= now]
            self._batch = [item for item in self._batch if item not in hopeless and item not in late]
            self._queue = deque(item for item in self._queue if item not in late)
            if isinstance(reason, NewerRecordsError):
                # A user has to act first, so a shutdown should not wait.
                self._batch = []
            waiting = any(item.future is None for item in self._batch)
        for item in {id(item): item for item in (*hopeless, *late)}.values():
            item.report(None, reason)
        if isinstance(reason, NewerRecordsError):
            self._warnings.once(f"{reason} {NOT_RECORDED}")
        elif waiting:
            self._warnings.say(f"{reason} Until then records wait in memory.")

    def _forget(self) -> None:
        if self._opened is not None:
            with suppress(sqlite3.Error):
                self._opened.connection.close()
            self._opened = None
