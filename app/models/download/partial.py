"""A partial file and its journal on disk."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

from zlib_ng.zlib_ng import crc32

from app.models.disk.layout import FileLocation
from app.models.disk.os_errors import in_words
from app.models.download.direct_io import DirectFile
from app.models.download.journal import BLOCK, FileVersion, Ranges, line, parse


def received_of(place: FileLocation) -> Ranges | None:
    """Returns what the journal of a partial file records, for readers other than its writer."""
    try:
        ranges = parse(place.journal.read_bytes())
    except OSError:
        return None
    if ranges is not None and not place.part.exists():
        ranges.received.clear()
    return ranges


def announce(place: FileLocation, identity: FileVersion) -> None:
    """Announces a file that is to come, so that readers know its size. Does nothing to a running download."""
    with in_words(place.journal), suppress(FileExistsError):
        journal = os.open(place.journal, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(journal, Ranges(identity).head())
        finally:
            os.close(journal)


class PartialFile:
    """A partial file, open for its one writer, who holds the lock.

    `inherited` are blocks of an earlier run, not yet checked. `replaced` tells that an older version of the file was
    dropped. Several threads may write, each to its own blocks.
    """

    def __init__(self, place: FileLocation, identity: FileVersion, block: int = BLOCK) -> None:
        known = received_of(place)
        # The revision may differ if the bytes are the same
        same = known is not None and (known.identity.digest, known.identity.size) == (identity.digest, identity.size)
        begun = known is not None and bool(known.received)
        self.replaced = begun and not same
        if not (begun and same):
            place.drop_partial()
            known = None
        self.ranges = Ranges(identity, known.block, dict(known.received)) if known else Ranges(identity, block)
        self.inherited = set(self.ranges.received)
        self.bytes_received = self.ranges.bytes_received
        self._lock = threading.Lock()
        self._path = place.part
        self._file = _open(place.part)
        self._bulk = DirectFile(place.part, self._file)
        self._journal = _open(place.journal, os.O_APPEND)
        with in_words(place.journal):
            if known is None:
                os.write(self._journal, self.ranges.head())
            else:
                # Ends an incomplete line
                os.write(self._journal, b"\n")

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._bulk.close()
        os.close(self._file)
        os.close(self._journal)

    def write(self, number: int, data: memoryview) -> None:
        """Writes a whole block. Raises DiskFullError or StoreError, as do all methods below."""
        with in_words(self._path):
            self._bulk.write(number * self.ranges.block, data)

    def complete(self, number: int, checksum: int) -> None:
        """Adds the line of a block that has been written."""
        text = line(number, checksum)
        with in_words(self._path):
            if os.write(self._journal, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._lock:
            self.ranges.received[number] = checksum
            self.bytes_received += self.ranges.length(number)

    def read(self, number: int, into: memoryview) -> bool:
        """Reads a received block from disk. Returns False if its checksum is wrong; the block is then missing again."""
        with in_words(self._path):
            count = self._bulk.read(number * self.ranges.block, into)
        self.inherited.discard(number)
        if count == len(into) and crc32(into) == self.ranges.received[number]:
            return True
        with self._lock:
            del self.ranges.received[number]
            self.bytes_received -= len(into)
        return False

    def sync(self) -> None:
        """Flushes everything to disk."""
        with in_words(self._path):
            os.ftruncate(self._file, self.ranges.identity.size)
            os.fsync(self._file)


def _open(path: Path, more: int = 0) -> int:
    with in_words(path):
        # Does not follow a link in place of the file
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | more, 0o644)
