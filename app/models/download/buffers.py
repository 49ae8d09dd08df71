"""Blocks in memory: received there, written from there, and kept for the hash that is about to come to them."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from zlib_ng.zlib_ng import crc32

from app.models.download.journal import PIECE, Ranges

# Blocks that are kept at most: 48 MiB.
KEPT = 12
# The longest requests, in blocks, that find room beside others. Longer ones are for lines slower than any disk.
_ROOM = 3


class Block:
    """One block while it comes in. `data` begins at a page; `checksum` is that of the `filled` bytes so far."""

    def __init__(self, number: int, length: int, room: mmap.mmap) -> None:
        self.number = number
        self.room = room
        self.data = memoryview(room)[:length]
        self.checksum = 0
        self.filled = 0

    @property
    def rest(self) -> memoryview:
        """Where the next piece belongs."""
        return self.data[self.filled : self.filled + PIECE]

    def add(self, count: int) -> bool:
        """So many bytes more are there; whether it is full now."""
        self.checksum = crc32(self.data[self.filled : self.filled + count], self.checksum)
        self.filled += count
        return self.filled == len(self.data)


class Filling:
    """The blocks of one request, one after the other; `block` is the one that is being filled."""

    def __init__(self, run: range, blank: Callable[[int], Block]) -> None:
        self._blanks = map(blank, run)
        self.block: Block | None = None

    def room(self) -> memoryview:
        """Where the next piece belongs."""
        if self.block is None:
            self.block = next(self._blanks)
        return self.block.rest

    def add(self, count: int) -> Block | None:
        """So many bytes more are there; the block if it is full with them, and then to be let go before the next."""
        return self.block if self.block is not None and self.block.add(count) else None


class Memory:
    """The blocks of one file that are in memory; for one thread at a time, `blank` and `give_back` excepted."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._expected = 0
        self._full: dict[int, Block] = {}
        self._rooms: list[mmap.mmap] = []

    def crowded(self, length: int) -> bool:
        """Whether a request of so many blocks had better wait until what it brings can be kept."""
        return length <= _ROOM and len(self._full) + self._expected + length > KEPT

    def expect(self, count: int) -> None:
        """So many blocks have been asked for."""
        self._expected += count

    def blank(self, number: int) -> Block:
        """A block to fill."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = mmap.mmap(-1, -(-self._ranges.block // mmap.PAGESIZE) * mmap.PAGESIZE)
        return Block(number, self._ranges.length(number), room)

    def keep(self, block: Block) -> None:
        """One that was expected is full and on the disk. Of too many, the last in the file is given up."""
        self._expected -= 1
        self._full[block.number] = block
        if len(self._full) > KEPT:
            self.give_back(self._full.pop(max(self._full)))

    def take(self, number: int) -> Block | None:
        """One that was kept, to be given back."""
        return self._full.pop(number, None)

    def give_back(self, block: Block) -> None:
        """Nobody needs its bytes any more."""
        self._rooms.append(block.room)
