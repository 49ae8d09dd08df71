"""Detects writes of other connections to the database, at low cost."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from app.records.connection import connect, exists


class ChangeWatch:
    """Watches the file at `path`, which may appear, disappear and be replaced. Blocks. Any thread may call it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None
        # `changed` runs in a thread, and `close` in another
        self._lock = threading.Lock()

    def changed(self) -> bool:
        """Tells whether the file was written since the last call. True at the first call that finds it."""
        with self._lock:
            try:
                return self._look()
            except (sqlite3.Error, OSError):
                # Locked by a writer, or gone: the next call tries again.
                self._forget()
                return False

    def _look(self) -> bool:
        if not exists(self._path):
            self._forget()
            gone, self._seen = self._seen is not None, None
            return gone
        inode = self._path.stat().st_ino
        if self._connection is None or self._seen is None or self._seen[0] != inode:
            self._forget()
            self._connection = connect(self._path, 0, any_thread=True)
            self._seen = (inode, -1)
        [version] = self._connection.execute("PRAGMA data_version").fetchone()
        before, self._seen = self._seen, (inode, version)
        return before != self._seen

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
