"""A partial file and its journal on disk."""

from __future__ import annotations

import errno
import os
import threading
import zlib
from pathlib import Path
from types import TracebackType

from app.errors import DiskFull, StoreError
from app.store.places import Place
from app.store.ranges import BLOCK, Identity, Ranges, line, parse

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def received_of(place: Place) -> Ranges | None:
    """What the journal of a partial file says, for those who look on from outside."""
    try:
        return parse(place.journal.read_bytes()) if place.part.exists() else None
    except OSError:
        return None


class Partial:
    """Open for its one writer, who holds the lock. `inherited` are blocks that an earlier run wrote, not yet checked;
    `replaced` says that what lay there was another version.

    `write` may be called by several threads, each with blocks of its own.
    """

    def __init__(self, place: Place, identity: Identity, block: int = BLOCK) -> None:
        known = received_of(place)
        # The revision may be another as long as the bytes are the same
        same = known is not None and (known.identity.digest, known.identity.size) == (identity.digest, identity.size)
        self.replaced = known is not None and not same
        if not same:
            place.drop_partial()
            known = None
        self.ranges = Ranges(identity, known.block, dict(known.received)) if known else Ranges(identity, block)
        self.inherited = set(self.ranges.received)
        self.bytes_received = self.ranges.bytes_received
        self._lock = threading.Lock()
        self._path = place.part
        self._file = _open(place.part)
        self._journal = _open(place.journal, os.O_APPEND)
        with in_words(place.journal):
            if known is None:
                os.write(self._journal, self.ranges.head())
            else:
                # Ends a line that was torn
                os.write(self._journal, b"\n")

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        os.close(self._journal)

    def write(self, number: int, data: bytearray | memoryview) -> None:
        """A whole block: first the bytes, then the line that says so. Raises DiskFull or StoreError."""
        with in_words(self._path):
            at, rest = number * self.ranges.block, memoryview(data)
            while rest:
                written = os.pwrite(self._file, rest, at)
                at, rest = at + written, rest[written:]
            checksum = zlib.crc32(data)
            text = line(number, checksum)
            if os.write(self._journal, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._lock:
            self.ranges.received[number] = checksum
            self.bytes_received += len(data)

    def read(self, number: int, into: bytearray) -> memoryview | None:
        """A block that was received; None, and it is missing again, where the disk holds something else."""
        length = self.ranges.length(number)
        view = memoryview(into)[:length]
        with in_words(self._path):
            whole = os.preadv(self._file, [view], number * self.ranges.block) == length
        if number in self.inherited:
            whole = whole and zlib.crc32(view) == self.ranges.received[number]
            self.inherited.discard(number)
        if whole:
            return view
        with self._lock:
            del self.ranges.received[number]
            self.bytes_received -= length
        return None

    def sync(self) -> None:
        """Everything is on the disk when this returns."""
        with in_words(self._path):
            os.ftruncate(self._file, self.ranges.identity.size)
            os.fsync(self._file)


class in_words:
    """Maps what the file system says; raises DiskFull or StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in _NO_ROOM:
            raise DiskFull(
                f"{self._path}: no room is left on the disk ({error.strerror}). What was received is kept: "
                "make room and pull again to go on."
            ) from None
        raise StoreError(f"{self._path}: {error.strerror}.") from None


def _open(path: Path, more: int = 0) -> int:
    with in_words(path):
        # A link in the place of a file of ours is not followed
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | more, 0o644)
