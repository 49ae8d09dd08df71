"""Downloads one file: several ranges at once, hashed in order while they arrive.

Threads do the work, since receiving, writing and hashing release the interpreter's lock. The caller's thread only waits
and reports, so Ctrl-C takes effect at once.

Blocks stay in memory until they are hashed, since reading them back from disk would make hashing the slowest part. So a
thread requests only blocks that fit into memory, unless waiting for memory would cost more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from app.errors import ChecksumMismatchError
from app.models.disk.checksum import Hash, new_hash
from app.models.disk.layout import FileLocation, room_below
from app.models.download.buffers import Block, BlockFiller, BlockPool
from app.models.download.events import DownloadEvent, Emit, Kind
from app.models.download.http import HttpConnections
from app.models.download.journal import BLOCK, FileVersion
from app.models.download.partial import PartialFile
from app.models.download.ranges import ByteSource, DownloadStoppedError, RangeFetcher
from app.models.download.request_size import RequestSizer

# Ranges in flight.
WORKERS = 4
_TELL_EVERY_S = 0.1
# A request waits for memory for at most half the time of the previous request, and no longer than this.
_PATIENCE_S = 0.25


def download(
    place: FileLocation,
    identity: FileVersion,
    source: ByteSource,
    wire: HttpConnections,
    emit: Emit,
    *,
    block: int = BLOCK,
    workers: int = WORKERS,
) -> None:
    """Fetches the missing parts, checks the whole file and renames it into place. The caller holds the lock.

    Raises HubError, DiskFullError or StoreError; the next attempt resumes. Raises ChecksumMismatchError if the whole
    file has the wrong checksum twice. The wrong bytes are then unknown, so all are discarded.
    """
    for last in (False, True):
        with PartialFile(place, identity, block) as partial:
            if partial.replaced:
                text = "has changed on the Hub since the download began; starting again"
                emit(DownloadEvent("note", identity.path, text=f"{identity.path} {text}"))
            digest = _Transfer(partial, identity, source, wire, emit).run(workers)
            if digest == identity.digest:
                partial.sync()
                break
        place.drop_partial()
        mismatch = f"{identity.path}: what arrived has the checksum {digest}, the Hub announced {identity.digest}"
        if last:
            raise ChecksumMismatchError(f"{mismatch}, twice. The download was discarded.")
        emit(DownloadEvent("note", identity.path, text=f"{mismatch}; starting again"))
    place.finish()
    place.write_record(identity.revision, identity.digest)


class _Transfer:
    """One pass over the file."""

    def __init__(
        self, partial: PartialFile, identity: FileVersion, source: ByteSource, wire: HttpConnections, emit: Emit
    ) -> None:
        self._partial = partial
        self._identity = identity
        self._emit = emit
        # Shared by the threads, under `_changed`
        self._changed = threading.Condition()
        self._queue: deque[range] = deque(partial.ranges.missing())
        self._memory = BlockPool(partial.ranges)
        self._fillings: list[BlockFiller] = []
        self._front = 0
        self._failure: BaseException | None = None
        self._digest: str | None = None
        self._notes: deque[str] = deque()
        self._stop = threading.Event()
        self._fetcher = RangeFetcher(wire, source, identity, self._stop, self._notes.append)

    def run(self, workers: int) -> str:
        """Returns the checksum of the whole file, once it is complete."""
        works = [self._fetch_all] * workers + [self._hash_all]
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            self._tell("start")
            while not self._over():
                self._tell("progress")
        finally:
            self._end(None)
            # A thread may be blocked in a read from a silent server
            self._fetcher.abort()
            for thread in threads:
                thread.join()
        # Blocks that are not on disk yet are lost
        self._fillings.clear()
        self._tell("progress")
        if self._failure is not None:
            raise self._failure
        assert self._digest is not None
        return self._digest

    def _over(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._failure or self._digest), _TELL_EVERY_S)

    def _tell(self, kind: Kind) -> None:
        while self._notes:
            self._emit(DownloadEvent("note", self._identity.path, text=self._notes.popleft()))
        with self._changed:
            received = self._partial.bytes_received + sum(
                filling.block.filled for filling in self._fillings if filling.block
            )
        self._emit(DownloadEvent(kind, self._identity.path, received, self._identity.size))

    # -- in threads ------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DownloadStoppedError:
            return
        except BaseException as error:
            self._end(error)

    def _end(self, failure: BaseException | None) -> None:
        with self._changed:
            self._failure = self._failure or failure
            self._stop.set()
            self._changed.notify_all()

    def _fetch_all(self) -> None:
        pace, took = RequestSizer(), 0.0
        while (run := self._next_run(pace.length, took)) is not None:
            waited, took = self._fetch(run)
            pace.note(len(run), waited, took)

    def _next_run(self, length: int, took: float) -> range | None:
        """Returns the next blocks to fetch.

        Waits if there are none: hashing may find a block that the disk has lost.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._crowded(length), min(took / 2, _PATIENCE_S))
            # Hashing will free memory, unless it waits for a block of a slow connection
            self._changed.wait_for(lambda: not (self._crowded(length) and self._front in self._partial.ranges.received))
            self._changed.wait_for(lambda: self._ended or self._queue)
            if self._ended:
                return None
            missing = self._queue.popleft()
            if missing[length:]:
                self._queue.appendleft(missing[length:])
            run = missing[:length]
            self._memory.expect(len(run))
            return run

    @property
    def _ended(self) -> bool:
        return self._stop.is_set() or self._digest is not None

    def _crowded(self, length: int) -> bool:
        """Tells whether memory is full.

        Never while hashing reads an earlier run's blocks, which takes too long to wait for.
        """
        old = self._front in self._partial.inherited
        return self._memory.crowded(length) and not old and not self._ended

    def _fetch(self, run: range) -> tuple[float, float]:
        """Returns the seconds until the first bytes, and in all."""
        began, waited = time.monotonic(), 0.0
        size, filling = self._partial.ranges.block, BlockFiller(run, self._memory.blank)
        with self._changed:
            self._fillings.append(filling)
        for count in self._fetcher.pieces(run.start * size, min(run.stop * size, self._identity.size), filling.room):
            waited = waited or time.monotonic() - began
            if (block := filling.add(count)) is not None:
                self._partial.write(block.number, block.data)
                self._received(block, filling)
        with self._changed:
            self._fillings.remove(filling)
        return waited, time.monotonic() - began

    def _received(self, block: Block, filling: BlockFiller) -> None:
        with self._changed:
            filling.block = None
            self._memory.keep(block)
            self._partial.complete(block.number, block.checksum)
            self._changed.notify_all()

    def _hash_all(self) -> None:
        """Hashes blocks in order as they become available."""
        own = new_hash(self._identity.digest, self._identity.size)
        for number in range(self._partial.ranges.count):
            self._hash(own, number)
        with self._changed:
            self._digest = f"{self._identity.digest.partition(':')[0]}:{own.hexdigest()}"
            self._changed.notify_all()

    def _hash(self, own: Hash, number: int) -> None:
        block = None
        while block is None:
            block = self._when_received(number) or self._read_back(number)
        own.update(block.data)
        self._memory.give_back(block)

    def _when_received(self, number: int) -> Block | None:
        """Waits for a block. Returns None if it is only on disk."""
        with self._changed:
            self._front = number
            self._changed.notify_all()
            self._changed.wait_for(lambda: number in self._partial.ranges.received or self._stop.is_set())
            if self._stop.is_set():
                raise DownloadStoppedError
            return self._memory.take(number)

    def _read_back(self, number: int) -> Block | None:
        """Reads a block from disk. Returns None if the disk has lost it; it is then fetched again."""
        block = self._memory.blank(number)
        if self._partial.read(number, block.data):
            return block
        with self._changed:
            self._queue.appendleft(range(number, number + 1))
            self._changed.notify_all()
        return None


def free_bytes(place: FileLocation) -> int:
    """Returns the free bytes of a path's file system."""
    return room_below(place.models_dir)
