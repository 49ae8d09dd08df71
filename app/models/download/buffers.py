"""Holds downloaded blocks in memory until they are written and hashed."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from zlib_ng.zlib_ng import crc32

from app.models.download.journal import PIECE, Ranges

# Limit of blocks in memory: 48 MiB.
KEPT = 12
# The longest request, in blocks, for which memory is reserved. Longer ones are for connections faster than any disk.
_ROOM = 3


class Block:
    """One block during its download. `data` is page-aligned. `checksum` covers the first `filled` bytes."""

    def __init__(self, number: int, length: int, room: mmap.mmap) -> None:
        self.number = number
        self.room = room
        self.data = memoryview(room)[:length]
        self.checksum = 0
        self.filled = 0

    @property
    def rest(self) -> memoryview:
        """The buffer for the next piece."""
        return self.data[self.filled : self.filled + PIECE]

    def add(self, count: int) -> bool:
        """Adds a piece. Returns whether the block is full."""
        self.checksum = crc32(self.data[self.filled : self.filled + count], self.checksum)
        self.filled += count
        return self.filled == len(self.data)


class BlockFiller:
    """Fills the blocks of one request in order. `block` is the current one."""

    def __init__(self, run: range, blank: Callable[[int], Block]) -> None:
        self._blanks = map(blank, run)
        self.block: Block | None = None

    def room(self) -> memoryview:
        """The buffer for the next piece."""
        if self.block is None:
            self.block = next(self._blanks)
        return self.block.rest

    def add(self, count: int) -> Block | None:
        """Adds a piece. Returns the block if it is full. The caller then releases it before the next call."""
        return self.block if self.block is not None and self.block.add(count) else None


class BlockPool:
    """The blocks of one file in memory. For one thread at a time, except `blank` and `give_back`."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._expected = 0
        self._full: dict[int, Block] = {}
        self._rooms: list[mmap.mmap] = []

    def crowded(self, length: int) -> bool:
        """Tells whether a request for so many blocks should wait until memory can hold them."""
        return length <= _ROOM and len(self._full) + self._expected + length > KEPT

    def expect(self, count: int) -> None:
        """Reserves memory for so many requested blocks."""
        self._expected += count

    def blank(self, number: int) -> Block:
        """Returns an empty block."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = mmap.mmap(-1, -(-self._ranges.block // mmap.PAGESIZE) * mmap.PAGESIZE)
        return Block(number, self._ranges.length(number), room)

    def keep(self, block: Block) -> None:
        """Keeps a reserved block that is full and on disk. Above the limit, drops the last block in file order."""
        self._expected -= 1
        self._full[block.number] = block
        if len(self._full) > KEPT:
            self.give_back(self._full.pop(max(self._full)))

    def take(self, number: int) -> Block | None:
        """Returns a kept block, which the caller gives back."""
        return self._full.pop(number, None)

    def give_back(self, block: Block) -> None:
        """Takes back a block whose bytes are no longer needed."""
        self._rooms.append(block.room)
