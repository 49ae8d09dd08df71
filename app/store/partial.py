"""A partial file and its journal on disk."""

from __future__ import annotations

import errno
import os
import threading
import zlib
from pathlib import Path

from app.store.digest import Hash
from app.store.disk import in_words
from app.store.places import Place
from app.store.ranges import BLOCK, Identity, Ranges, line, parse


def received_of(place: Place) -> Ranges | None:
    """What the journal of a partial file says, for those who look on from outside."""
    try:
        return parse(place.journal.read_bytes()) if place.part.exists() else None
    except OSError:
        return None


class Partial:
    """Open for its one writer, who holds the lock. `inherited` are blocks that an earlier run wrote, not yet checked;
    `replaced` says that what lay there was another version.

    Several threads may write, each to blocks of its own.
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
        self._writing = threading.Lock()
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

    def write(self, at: int, data: memoryview) -> None:
        """Some bytes of a block. Raises DiskFull or StoreError, as all that follow."""
        # The kernel lets one thread at a time write to a file, and the others would burn their time spinning
        with in_words(self._path), self._writing:
            while data:
                written = os.pwrite(self._file, data, at)
                at, data = at + written, data[written:]

    def complete(self, number: int, checksum: int) -> None:
        """All bytes of a block are written: the line that says so."""
        text = line(number, checksum)
        with in_words(self._path):
            if os.write(self._journal, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._lock:
            self.ranges.received[number] = checksum
            self.bytes_received += self.ranges.length(number)

    def add_to(self, whole: Hash, number: int, buffer: memoryview) -> Hash | None:
        """The checksum of the file with a received block added to it, read by way of `buffer`.

        None, and the block is missing again, where the disk holds something else.
        """
        start, checksum = number * self.ranges.block, 0
        at, end = start, start + self.ranges.length(number)
        longer, doubtful = whole.copy(), number in self.inherited
        with in_words(self._path):
            while at < end and (count := os.preadv(self._file, [buffer[: end - at]], at)):
                longer.update(buffer[:count])
                checksum = zlib.crc32(buffer[:count], checksum) if doubtful else 0
                at += count
        self.inherited.discard(number)
        if at == end and (not doubtful or checksum == self.ranges.received[number]):
            return longer
        with self._lock:
            del self.ranges.received[number]
            self.bytes_received -= end - start
        return None

    def sync(self) -> None:
        """Everything is on the disk when this returns."""
        with in_words(self._path):
            os.ftruncate(self._file, self.ranges.identity.size)
            os.fsync(self._file)


def _open(path: Path, more: int = 0) -> int:
    with in_words(path):
        # A link in the place of a file of ours is not followed
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | more, 0o644)
