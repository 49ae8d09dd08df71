"""Writes and reads a file without the page cache, if its file system allows it.

This saved half of a pull's CPU time, and leaves the page cache to the running models.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

# The alignment that every disk accepts, also in memory.
_ALIGNED = 4096
# Bytes per write through the page cache. Writing whole blocks took longer, to find free memory.
_PIECE = 1 << 18


class DirectFile:
    """Opens a second handle next to `file`, which belongs to the caller. Raises OSError."""

    def __init__(self, path: Path, file: int) -> None:
        self._file = file
        self._direct: int | None = None
        self._works = True
        self._writing = threading.Lock()
        # macOS lacks it, and some file systems reject it
        if flag := getattr(os, "O_DIRECT", 0):
            with suppress(OSError):
                self._direct = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flag)

    def close(self) -> None:
        """Closes the second handle only."""
        if self._direct is not None:
            os.close(self._direct)

    def write(self, at: int, data: memoryview) -> None:
        """Writes all of `data`. Several threads may write at once."""
        while data:
            written = self._write(at, data)
            at, data = at + written, data[written:]

    def _write(self, at: int, data: memoryview) -> int:
        if (direct := self._usable(at, data)) is not None:
            try:
                return os.pwrite(direct, data, at)
            except OSError as error:
                self._refused(error)
        # The kernel lets one thread at a time into a file's page cache, and the others spin
        with self._writing:
            return os.pwrite(self._file, data[:_PIECE], at)

    def read(self, at: int, into: memoryview) -> int:
        """Returns the number of bytes read, which is smaller at the end of the file."""
        if (direct := self._usable(at, into)) is not None:
            try:
                return os.preadv(direct, [into], at)
            except OSError as error:
                self._refused(error)
        return os.preadv(self._file, [into], at)

    def _usable(self, at: int, data: memoryview) -> int | None:
        return self._direct if self._works and not (at | len(data)) % _ALIGNED else None

    def _refused(self, error: OSError) -> None:
        """Tells whether the disk needs a larger alignment, or the file system only accepts the flag."""
        if error.errno != errno.EINVAL:
            raise error
        self._works = False
