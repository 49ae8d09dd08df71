"""Opens the database file, which only its user can read, and copies it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_PRIVATE = 0o600


def create(path: Path) -> None:
    """Creates an empty file and its folder if missing. Raises OSError.

    sqlite gives its own files, -wal and -shm, the same mode.
    """
    if exists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never open and close the file directly. That would release the locks of all connections of this process, and
    # another process could delete the -wal in use.
    blank = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        os.close(os.open(blank, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
        try:
            os.link(blank, path)
        except FileExistsError:  # Another process was faster
            pass
        except OSError:  # A file system without links
            blank.rename(path)
    finally:
        blank.unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Tells whether the file exists. Raises OSError if that cannot be known: an inaccessible file is not missing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def leads_to(path: Path, file: os.stat_result) -> bool:
    """Tells whether the path still leads to a file that was there before."""
    try:
        return os.path.samestat(path.stat(), file)
    except OSError:
        return False


def connect(path: Path, patience_s: float, *, any_thread: bool = False) -> sqlite3.Connection:
    """Returns a connection in autocommit mode to an existing file. Raises sqlite3.Error or OSError.

    `patience_s` is the time that a statement waits for another process's lock.
    """
    _tighten(path)
    # Without `rw` sqlite would create a missing file, with a mode of its own.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, patience_s, isolation_level=None, uri=True, check_same_thread=not any_thread)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Runs a transaction that excludes other writers. Raises sqlite3.Error."""
    # IMMEDIATE excludes other writers. Without WAL, EXCLUSIVE would also exclude the reader that makes a copy.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # A full disk ends a transaction by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def private(path: Path) -> bool:
    """Tells whether only its user can read and write the file. Raises OSError."""
    return not path.stat().st_mode & 0o077


def _tighten(path: Path) -> None:
    """Restricts files that an earlier version made readable for others."""
    for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        # Another user's file, or a missing one: the writer reports it, see `private`.
        with suppress(OSError):
            if not private(name):
                name.chmod(_PRIVATE)


def back_up(path: Path) -> Path:
    """Copies the file's last commit to `.bak` beside it. Raises sqlite3.Error or OSError.

    The copy appears complete or not at all. Another connection may hold the write lock.
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
