"""The journal of a partial file: which blocks of it have been received, each with a checksum of ours. Pure.

One text line of JSON names the file, then one line a block. A block is written to the partial file first and to the
journal after it, without a sync between: what power loss leaves of either is found out by the checksums. A line that
was torn is no line.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

# Bytes a block: what a kill may cost each range in flight.
BLOCK = 4 << 20
# Bytes that are received at once: they are still in a processor's cache when their checksum is taken.
PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Identity:
    """One version of one file of a repo. `size` is in bytes, `digest` `sha256:...` or, of small files, `git:...`."""

    repo: str
    path: str
    revision: str
    digest: str
    size: int


@dataclass(slots=True)
class Ranges:
    """`received`: block number -> CRC-32. The last block may be short."""

    identity: Identity
    block: int = BLOCK
    received: dict[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many blocks the file has."""
        return -(-self.identity.size // self.block)

    @property
    def bytes_received(self) -> int:
        return sum(self.length(number) for number in self.received)

    def length(self, number: int) -> int:
        """Bytes of a block."""
        return min(self.block, self.identity.size - number * self.block)

    def missing(self) -> Iterator[range]:
        """Runs of blocks to fetch, in the file's order."""
        start: int | None = None
        for number in range(self.count + 1):
            is_missing = number < self.count and number not in self.received
            if start is not None and not is_missing:
                yield range(start, number)
                start = None
            if is_missing and start is None:
                start = number

    def head(self) -> bytes:
        """The journal's first line."""
        return json.dumps(asdict(self.identity) | {"block": self.block}).encode() + b"\n"


def line(number: int, checksum: int) -> bytes:
    """A block's line in the journal."""
    text = b"%08x %08x" % (number, checksum)
    return b"%s %08x\n" % (text, zlib.crc32(text))


def parse(journal: bytes) -> Ranges | None:
    """What a journal says; None where its first line is not whole. The last line of a block counts."""
    first, _, rest = journal.partition(b"\n")
    try:
        head = json.loads(first)
        block = head.pop("block")
        ranges = Ranges(Identity(**head), block)
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
