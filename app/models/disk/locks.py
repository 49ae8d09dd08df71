"""One puller a file, across processes: a lock of the kernel's, which ends with its process however that ends."""

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
    """Holds the lock; the value says whether somebody else had it. `waiting` is called while they do.

    The file is never removed: whoever waits holds it open, and a new one would be another lock. Raises StoreError.
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
    """Holds the lock where nobody has it; the value says whether. Raises StoreError."""
    descriptor = _open(path)
    try:
        yield _try(descriptor)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody pulls this file now."""
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
