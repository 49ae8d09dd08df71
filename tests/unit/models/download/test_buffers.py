"""Blocks in memory: filled piece by piece, kept for the hash while there is room."""

import os
import zlib

from app.models.download.buffers import KEPT, Block, BlockFiller, BlockPool
from app.models.download.journal import PIECE, FileVersion, Ranges

BLOCK = 3 * PIECE


def memory(size: int = 100 * BLOCK) -> BlockPool:
    return BlockPool(Ranges(FileVersion("org/m", "m.gguf", "f" * 40, "sha256:0", size), BLOCK))


def filled(of: BlockPool, *numbers: int) -> dict[int, Block]:
    """Blocks that were asked for, and have come."""
    of.expect(len(numbers))
    blocks = {number: of.blank(number) for number in numbers}
    for block in blocks.values():
        of.keep(block)
    return blocks


def test_pieces_fill_one_block_after_the_other() -> None:
    """Pieces as they come, none across the end of a block; the checksum is of the whole block."""
    content = os.urandom(2 * BLOCK + 5)
    filling, at, full = BlockFiller(range(3), memory(len(content)).blank), 0, []
    while at < len(content):
        room = filling.room()
        count = min(len(room), 100_000, len(content) - at)
        room[:count] = content[at : at + count]
        at += count
        if (block := filling.add(count)) is not None:
            full.append(block)
            filling.block = None
    assert b"".join(block.data for block in full) == content
    assert [block.checksum for block in full] == [zlib.crc32(block.data) for block in full]


def test_a_block_is_taken_once() -> None:
    of = memory()
    blocks = filled(of, 3, 4)
    assert of.take(4) is blocks[4] and of.take(4) is None and of.take(5) is None


def test_a_request_has_room_until_what_others_will_bring_takes_it() -> None:
    """What was asked for counts as if it were here; what the hash has taken does not."""
    of = memory()
    filled(of, *range(KEPT - 4))
    assert not of.crowded(2)
    of.expect(3)
    assert of.crowded(2) and not of.crowded(1)
    of.take(0)
    assert not of.crowded(2)


def test_a_long_request_is_not_asked_to_wait() -> None:
    """It would never find room: it is for a line that no disk holds up."""
    of = memory()
    of.expect(KEPT)
    assert of.crowded(3) and not of.crowded(16)


def test_of_too_many_blocks_the_last_in_the_file_is_given_up() -> None:
    """The hash is at the others first; that one is on the disk."""
    of = memory()
    filled(of, *range(10, 10 + KEPT), 5, 90)
    assert of.take(90) is None and of.take(9 + KEPT) is None
    assert all(of.take(number) for number in (5, *range(10, 9 + KEPT)))


def test_room_is_used_again() -> None:
    of = memory()
    first = of.blank(0)
    of.give_back(first)
    assert of.blank(1).room is first.room
