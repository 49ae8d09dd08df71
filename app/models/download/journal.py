"""The journal of a partial file: its received blocks, each with a checksum. Pure.

The first line names the file, in JSON. Each further line is a block. A block is written to the partial file first and
to the journal afterwards, without a sync between them: the checksums reveal what power loss has damaged. An incomplete
line does not count.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

# Bytes per block: a kill may lose as many for each range in flight.
BLOCK = 4 << 20
# Bytes per read: their checksum is computed while they are in the processor's cache.
PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One version of one file of a repo.

    `size` is in bytes. `digest` is `sha256:...` or, for small files, `git:...`.
    """

    repo: str
    path: str
    revision: str
    digest: str
    size: int


@dataclass(slots=True)
class Ranges:
    """`received` maps block numbers to their CRC-32. The last block may be short."""

    identity: FileVersion
    block: int = BLOCK
    received: dict[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of blocks of the file."""
        return -(-self.identity.size // self.block)

    @property
    def bytes_received(self) -> int:
        return sum(self.length(number) for number in self.received)

    def length(self, number: int) -> int:
        """Returns the bytes of a block."""
        return min(self.block, self.identity.size - number * self.block)

    def missing(self) -> Iterator[range]:
        """Returns the runs of blocks to fetch, in file order."""
        start: int | None = None
        for number in range(self.count + 1):
            is_missing = number < self.count and number not in self.received
            if start is not None and not is_missing:
                yield range(start, number)
                start = None
            if is_missing and start is None:
                start = number

    def head(self) -> bytes:
        """Returns the journal's first line."""
        return json.dumps(asdict(self.identity) | {"block": self.block}).encode() + b"\n"


def line(number: int, checksum: int) -> bytes:
    """Returns a block's line."""
    text = b"%08x %08x" % (number, checksum)
    return b"%s %08x\n" % (text, zlib.crc32(text))


def parse(journal: bytes) -> Ranges | None:
    """Parses a journal. Returns None if its first line is incomplete. Of several lines for a block the last counts."""
    first, _, rest = journal.partition(b"\n")
    try:
        head = json.loads(first)
        block = head.pop("block")
        ranges = Ranges(FileVersion(**head), block)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not isinstance(block, int) or block < 1 or not isinstance(ranges.identity.size, int):
        return None
    for text in rest.split(b"\n"):
        entry = _line(text)
        if entry is not None and entry[0] < ranges.count:
            ranges.received[entry[0]] = entry[1]
    return ranges


def _line(text: bytes) -> tuple[int, int] | None:
    if len(text) != 26:
        return None
    try:
        number, checksum, own = (int(part, 16) for part in text.split(b" "))
    except ValueError:
        return None
    return (number, checksum) if zlib.crc32(text[:17]) == own else None
