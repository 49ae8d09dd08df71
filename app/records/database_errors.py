"""Explains database errors, and reports them without flooding the log."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app.errors import RecordsError

# At most one line in so many seconds.
SAY_EVERY_S = 60.0

_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL))
# sqlite's error name -> reason, and remedy
_WORDS = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space."),
    sqlite3.SQLITE_READONLY: ("it is read-only", "Let this user write the file and its folder."),
    sqlite3.SQLITE_PERM: ("permission denied", "Let this user write the file and its folder."),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "Let this user write the file and its folder."),
    sqlite3.SQLITE_NOTADB: ("it is not a database", "Move it away to start with an empty one."),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "Restore it from a backup, or move it away to start with an empty one."),
    sqlite3.SQLITE_IOERR: ("the disk fails", "Check the disk and its free space."),
    sqlite3.SQLITE_NOMEM: ("memory is short", "Free some memory."),
}


def is_busy(error: BaseException) -> bool:
    """Tells whether another process holds a lock, so that a retry helps."""
    return _code(error) in _BUSY


def concerns_all(error: BaseException) -> bool:
    """Tells whether the database failed, rather than one statement."""
    return is_busy(error) or _code(error) in _WORDS


def in_words(action: str, path: Path, error: Exception) -> RecordsError:
    """Converts an error to a RecordsError. `action` is such as `read keys`. A RecordsError stays as it is."""
    if isinstance(error, RecordsError):
        return error
    if is_busy(error):
        why, fix = "another process holds its lock", "End that process if it does not let go."
    elif isinstance(error, OSError):
        why, fix = error.strerror or str(error), "Let this user write the file and its folder."
    else:
        why, fix = _WORDS.get(
            _code(error), (str(error), "Update llama-tandem, or move the file away to start with an empty one.")
        )
    return RecordsError(f"cannot {action} {path}: {why}. {fix}")


def _code(error: BaseException) -> int:
    """Returns sqlite's primary result code, or -1 for other errors."""
    code = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.Error) else None
    return -1 if code is None else code & 0xFF


class WarningReporter:
    """Reports messages through `report`. Any thread may call it."""

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._quiet_until: float | None = None
        self._lost = 0
        self._said: set[str] = set()

    def say(self, text: str, *, lost: int = 0) -> None:
        """Reports now, unless it has within the last minute. Counts `lost` records until the next report."""
        with self._lock:
            self._lost += lost
            now = self._clock()
            if self._quiet_until is not None and now < self._quiet_until:
                return
            self._quiet_until = now + SAY_EVERY_S
            lost, self._lost = self._lost, 0
        self._report(f"{text} {lost} {'record is' if lost == 1 else 'records are'} lost." if lost else text)

    def once(self, text: str) -> None:
        """Reports a lasting problem once."""
        with self._lock:
            if text in self._said:
                return
            self._said.add(text)
        self._report(text)
