"""One file from the Hub onto the disk: several ranges in flight, hashed in order while they arrive.

Threads, because the work is done outside Python: receiving, writing and hashing let go of the interpreter's lock. The
caller's thread only waits and tells, so that Ctrl-C reaches it at once.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Callable

from app.errors import WrongBytes
from app.store.digest import new_hash
from app.store.fetch import Fetcher, Source, Stopped
from app.store.partial import Partial
from app.store.places import Place, room_below
from app.store.progress import Emit, Event, Kind
from app.store.ranges import BLOCK, PIECE, Identity
from app.store.wire import Wire

# Ranges in flight.
WORKERS = 4
_TELL_EVERY_S = 0.1


def download(
    place: Place,
    identity: Identity,
    source: Source,
    wire: Wire,
    emit: Emit,
    *,
    block: int = BLOCK,
    workers: int = WORKERS,
) -> None:
    """Fetches what is missing, checks the whole and renames it into place; the caller holds the lock.

    Raises HubError, DiskFull, StoreError: what was received stays for the next try. Raises WrongBytes when the whole
    file is not what the Hub announced, twice: nothing tells which bytes are wrong, so nothing is kept.
    """
    for last in (False, True):
        with Partial(place, identity, block) as partial:
            if partial.replaced:
                text = "has changed on the Hub since it was begun: from the start again"
                emit(Event("note", identity.path, text=f"{identity.path} {text}"))
            found = _Transfer(partial, identity, source, wire, emit).run(workers)
            if found == identity.digest:
                partial.sync()
                break
        place.drop_partial()
        said = f"{identity.path}: what arrived has the checksum {found}, the Hub announced {identity.digest}"
        if last:
            raise WrongBytes(f"{said}, twice. Nothing of it is kept.")
        emit(Event("note", identity.path, text=f"{said}; from the start again"))
    place.finish()
    place.write_record(identity.revision, identity.digest)


class _Transfer:
    """One pass over the file."""

    def __init__(self, partial: Partial, identity: Identity, source: Source, wire: Wire, emit: Emit) -> None:
        self._partial = partial
        self._identity = identity
        self._emit = emit
        # Shared by the threads, under `_changed`
        self._changed = threading.Condition()
        self._queue: deque[range] = deque(partial.ranges.missing())
        self._failure: BaseException | None = None
        self._digest: str | None = None
        self._notes: deque[str] = deque()
        self._stop = threading.Event()
        self._fetcher = Fetcher(wire, source, identity, self._stop, self._notes.append)

    def run(self, workers: int) -> str:
        """The checksum of the whole file, once all of it is there."""
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
            # A thread may sit in a read from a server that has fallen silent
            self._fetcher.abort()
            for thread in threads:
                thread.join()
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
            self._emit(Event("note", self._identity.path, text=self._notes.popleft()))
        self._emit(Event(kind, self._identity.path, self._partial.bytes_received, self._identity.size))

    # -- in threads ------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            return
        except BaseException as error:
            self._end(error)

    def _end(self, failure: BaseException | None) -> None:
        with self._changed:
            self._failure = self._failure or failure
            self._stop.set()
            self._changed.notify_all()

    def _fetch_all(self) -> None:
        buffer = memoryview(bytearray(PIECE))
        while (run := self._next_run()) is not None:
            self._fetch(run, buffer)

    def _next_run(self) -> range | None:
        """Waits while there is nothing to do: the hashing may yet find a block that the disk has lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stop.is_set() or self._digest)
            if self._stop.is_set() or self._digest:
                return None
            return self._queue.popleft()

    def _fetch(self, run: range, buffer: memoryview) -> None:
        block, size = self._partial.ranges.block, self._identity.size
        at, checksum = run.start * block, 0
        for data in self._fetcher.pieces(at, min(run.stop * block, size), block, buffer):
            self._partial.write(at, data)
            at, checksum = at + len(data), zlib.crc32(data, checksum)
            if at % block == 0 or at == size:
                self._partial.complete((at - 1) // block, checksum)
                checksum = 0
                with self._changed:
                    self._changed.notify_all()

    def _hash_all(self) -> None:
        """Follows the front of what is there, reading from the page cache what was just written."""
        own, buffer = new_hash(self._identity.digest, self._identity.size), memoryview(bytearray(PIECE))
        for number in range(self._partial.ranges.count):
            self._until_received(number)
            while (longer := self._partial.add_to(own, number, buffer)) is None:
                with self._changed:
                    self._queue.appendleft(range(number, number + 1))
                    self._changed.notify_all()
                self._until_received(number)
            own = longer
        with self._changed:
            self._digest = f"{self._identity.digest.partition(':')[0]}:{own.hexdigest()}"
            self._changed.notify_all()

    def _until_received(self, number: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: number in self._partial.ranges.received or self._stop.is_set())
        if self._stop.is_set():
            raise Stopped


def free_bytes(place: Place) -> int:
    """What the file system of a place has left for us."""
    return room_below(place.models_dir)
