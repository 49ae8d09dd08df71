"""Connections to the file of the records, which is for its own user only, and its copy."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_PRIVATE = 0o600


def create(path: Path) -> None:
    """An empty file, and its folder, where there is none; raises OSError.

    sqlite gives its own files, -wal and -shm, the mode of this one.
    """
    if exists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never open and close the file itself: that would end the locks of all connections that this process has to it, and
    # another process would then delete the -wal under them.
    blank = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        os.close(os.open(blank, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
        try:
            os.link(blank, path)
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # a file system without links
            blank.rename(path)
    finally:
        blank.unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Raises OSError where that cannot be known: what may not be looked at is not missing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def connect(path: Path, patience_s: float, *, any_thread: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode to a file that is there; raises sqlite3.Error or OSError.

    `patience_s` is for how long a statement waits for another process's lock.
    """
    _tighten(path)
    # Without `rw` sqlite would make a file that has gone meanwhile, with a mode of its own.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, patience_s, isolation_level=None, uri=True, check_same_thread=not any_thread)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and no other writer meanwhile; raises sqlite3.Error."""
    # IMMEDIATE lets no other writer in. EXCLUSIVE would, without WAL, also lock out the reader that makes a copy.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # A full disk ends a transaction by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def private(path: Path) -> bool:
    """Whether only the file's user can read and write it; raises OSError."""
    return not path.stat().st_mode & 0o077


def _tighten(path: Path) -> None:
    """Files that an earlier version made for others to read."""
    for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        # Of another user, or gone: who writes tells of it, see `private`.
        with suppress(OSError):
            if not private(name):
                name.chmod(_PRIVATE)


def back_up(path: Path) -> Path:
    """Copies the file, as its last commit left it, to `.bak` beside it; raises sqlite3.Error or OSError.

    The copy appears whole or not at all. Another connection may hold the write lock.
    """
    whole = path.with_name(f"{path.name}.bak")
    part = path.with_name(f".{path.name}.bak-{os.getpid()}")
    try:
        part.unlink(missing_ok=True)
        create(part)
        with closing(connect(path, 0)) as source, closing(connect(part, 0)) as target:
            source.backup(target)
        part.replace(whole)
    finally:
        part.unlink(missing_ok=True)
    return whole
