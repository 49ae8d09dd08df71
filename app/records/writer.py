"""One thread that writes: it takes what waits, in one transaction, and tries again until it is written.

Nobody waits for it, unless by `submit`. It starts with the first thing to write.
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
from app.records.trouble import Warnings, concerns_all, is_busy

# Figures are written this often at the most: a `kill -9` loses so much of them.
EVERY_S = 1.0
# After a failure, doubling
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 30.0
# Failures, starts and the like that wait for a database in trouble; the oldest go first.
MOST_WAITING = 1000

Work = Callable[[sqlite3.Connection], Any]
NOT_RECORDED = "Until then nothing is recorded."
_TOO_MANY = "cannot write records fast enough: too many wait."
_ENDING = "cannot write records: this process is ending. Try again."


class FigureSource(Protocol):
    """Figures that add up in memory until the writer takes them."""

    table: str

    def take(self) -> Work | None:
        """On the writer's thread: what to write of all that came since the last call, None where nothing did.

        The work may run several times, until it is written. A source bounds its own memory meanwhile.
        """


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that is migrated, and its tables that cannot be used: name -> why."""

    connection: sqlite3.Connection
    unusable: dict[str, str]
    # Whether the path still leads to this connection's file
    in_place: Callable[[], bool]


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    table: str
    work: Work
    # Set where somebody waits, until `deadline` by the clock of the writer
    future: Future[Any] | None = None
    deadline: float = inf

    def tell(self, result: Any, error: Exception | None) -> None:
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
    """`open_file` gives a connection for the writer's thread; it raises RecordsError, sqlite3.Error or OSError.

    `explain` puts an error into words. `turn` is what the thread does; a test may do it instead.
    """

    def __init__(
        self,
        open_file: Callable[[], Opened],
        explain: Callable[[Exception], RecordsError],
        warnings: Warnings,
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
        # The thread's own
        self._opened: Opened | None = None
        self._failures = 0

    # -- for any thread --------------------------------------------------------------------------------------

    def add_source(self, source: FigureSource) -> None:
        """Before anything is due."""
        self._sources.append(source)

    def due(self) -> None:
        """A source has something: it is written within `EVERY_S`."""
        # Without the lock for all but the first of a second. The thread forgets it before it takes, so none is missed.
        if self._due_at is None:
            with self._wake:
                if self._due_at is None:
                    self._due_at = self._clock() + EVERY_S
                    self._start()

    def put(self, table: str, work: Work) -> None:
        """Written at once if the database lets it, else later; lost where too much waits."""
        with self._wake:
            self._queue.append(_Item(table, work))
            dropped = self._queue.popleft() if len(self._queue) > MOST_WAITING else None
            self._start()
        if dropped is not None:
            dropped.tell(None, RecordsError(f"{_TOO_MANY} Try again."))
            self._warnings.say(_TOO_MANY, lost=1)

    def submit(self, table: str, work: Work, patience_s: float) -> Future[Any]:
        """What `work` returns or raises, or the RecordsError that kept it from being written.

        Another process's lock is waited for, `patience_s` long; anything else is told at once.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # nobody may cancel what may be half-written
        item = _Item(table, work, future, self._clock() + patience_s)
        with self._wake:
            self._queue.append(item)
            self._start()
            ended = self._ends_at is not None and self._thread is None
        if ended:
            item.tell(None, RecordsError(_ENDING))
        return future

    def close(self, within_s: float) -> None:
        """Writes what is left, for so long at the most; what is not written then is lost, and told."""
        with self._wake:
            self._ends_at = self._clock() + within_s
            self._retry_at = -inf
            self._wake.notify()
            thread = self._thread
        if thread is not None:
            # A statement that waits for a lock at the end of the time may take a moment longer.
            thread.join(within_s + 2 * FIRST_RETRY_S)
        with self._wake:
            lost = [*self._batch, *self._queue]
            self._batch, self._thread = [], None
            self._queue.clear()
        for item in lost:
            item.tell(None, RecordsError(_ENDING))
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
        """Waits until there is something to do; false when this is the end."""
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
        """When the next turn is; None while nothing waits."""
        if self._batch or self._queue:
            return min(self._retry_at, *(item.deadline for item in (*self._batch, *self._queue)))
        return self._due_at if self._ends_at is None or self._due_at is None else -inf

    def turn(self) -> None:
        """One try to write what waits. Raises nothing."""
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
        """What the last turn could not write comes first, and alone: its sources go on adding up meanwhile."""
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
        except Exception as error:  # whatever it is, this thread is the only one that writes
            self._warnings.say(f"cannot record in the table {source.table}: {error!r}.")
            return None

    def _write(self, batch: list[_Item]) -> list[_Outcome]:
        if self._opened is not None and not self._opened.in_place():
            # What goes on in a file that was moved away nobody will ever read.
            self._forget()
        if self._opened is None:
            self._opened = self._open_file()
        opened = self._opened
        with transaction(opened.connection):
            return [self._write_item(opened, item) for item in batch]

    def _write_item(self, opened: Opened, item: _Item) -> _Outcome:
        """One that cannot be written must not keep the others from it."""
        if item.table in opened.unusable:
            return None, TableMismatchError(opened.unusable[item.table])
        connection = opened.connection
        connection.execute("SAVEPOINT item")
        try:
            outcome: _Outcome = item.work(connection), None
        except Exception as error:  # whatever it is, this thread is the only one that writes
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
            item.tell(result, error)
            # A table that cannot be used was told by name.
            if item.future is None and error is not None and not isinstance(error, TableMismatchError):
                self._warnings.say(f"cannot record in the table {item.table}: {error}.", lost=1)

    def _failed(self, error: Exception) -> None:
        """Another try later, and with a new connection: the file may be another one by then."""
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
                # Nothing will be written before somebody acts, and no stop should wait for it.
                self._batch = []
            waiting = any(item.future is None for item in self._batch)
        for item in {id(item): item for item in (*hopeless, *late)}.values():
            item.tell(None, reason)
        if isinstance(reason, NewerRecordsError):
            self._warnings.once(f"{reason} {NOT_RECORDED}")
        elif waiting:
            self._warnings.say(f"{reason} Until then records wait in memory.")

    def _forget(self) -> None:
        if self._opened is not None:
            with suppress(sqlite3.Error):
                self._opened.connection.close()
            self._opened = None
