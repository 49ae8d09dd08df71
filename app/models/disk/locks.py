"""Allows one downloader per file across processes, by a kernel lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.models.disk.os_errors import in_words

_POLL_S = 0.2


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Holds the lock. The value tells whether another process held it before. Calls `waiting` meanwhile.

    The file is never removed: waiting processes have it open, and a new file would be another lock. Raises StoreError.
    """
    descriptor = _open(path)
    try:
        waited = False
        while not _try(descriptor):
            waited = True
            waiting()
            time.sleep(_POLL_S)
        yield waited
    finally:
        os.close(descriptor)


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Holds the lock if it is free. The value tells whether it was. Raises StoreError."""
    descriptor = _open(path)
    try:
        yield _try(descriptor)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tells whether a process downloads this file now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not _try(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with in_words(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
