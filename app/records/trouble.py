"""What is wrong with the database, in words, and told without flooding the log."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app.errors import RecordsError

# One line at the most in this time, whatever goes wrong.
SAY_EVERY_S = 60.0

_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL))
# What sqlite calls it -> why, and what to do
_WORDS = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space."),
    sqlite3.SQLITE_READONLY: ("it is read-only", "Let this user write the file and its folder."),
    sqlite3.SQLITE_PERM: ("this user may not", "Let this user write the file and its folder."),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "Let this user write the file and its folder."),
    sqlite3.SQLITE_NOTADB: ("it is no database", "Move it away to begin anew."),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "Restore it from a backup, or move it away to begin anew."),
    sqlite3.SQLITE_IOERR: ("the disk fails", "Check the disk and its free space."),
    sqlite3.SQLITE_NOMEM: ("memory is short", "Free some memory."),
}


def is_busy(error: BaseException) -> bool:
    """Whether another process is in the way, so that trying again helps."""
    return _code(error) in _BUSY


def concerns_all(error: BaseException) -> bool:
    """Whether the database failed. Otherwise the statement did, and others may well work."""
    return is_busy(error) or _code(error) in _WORDS


def in_words(action: str, path: Path, error: Exception) -> RecordsError:
    """`action` is such as `read keys`; what is a RecordsError already stays as it is."""
    if isinstance(error, RecordsError):
        return error
    if is_busy(error):
        why, fix = "another process holds its lock", "End that process if it does not let go."
    elif isinstance(error, OSError):
        why, fix = error.strerror or str(error), "Let this user write the file and its folder."
    else:
        why, fix = _WORDS.get(_code(error), (str(error), "Update llama-tandem, or move the file away to begin anew."))
    return RecordsError(f"cannot {action} {path}: {why}. {fix}")


def _code(error: BaseException) -> int:
    """The primary result code, without what extends it; -1 for what does not come from sqlite itself."""
    code = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.Error) else None
    return -1 if code is None else code & 0xFF


class Warnings:
    """Lines for a person. `tell` takes one; any thread may call."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._quiet_until: float | None = None
        self._lost = 0
        self._said: set[str] = set()

    def say(self, text: str, *, lost: int = 0) -> None:
        """Now, or not at all within a minute of another; `lost` records are counted until a line is due."""
        with self._lock:
            self._lost += lost
            now = self._clock()
            if self._quiet_until is not None and now < self._quiet_until:
                return
            self._quiet_until = now + SAY_EVERY_S
            lost, self._lost = self._lost, 0
        self._tell(f"{text} {lost} {'record is' if lost == 1 else 'records are'} lost." if lost else text)

    def once(self, text: str) -> None:
        """What stays as it is until somebody mends it."""
        with self._lock:
            if text in self._said:
                return
            self._said.add(text)
        self._tell(text)
