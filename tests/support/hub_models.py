"""GGUF files of a header and some bytes behind it, as a Hub would have them."""

from __future__ import annotations

import os
import struct


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def model(size: int = 50_000, *, shard: tuple[int, int] | None = None, architecture: str | None = "llama") -> bytes:
    """`shard` is (number from 0, count), as the header has it; only the first of several names the architecture."""
    keys = b""
    count = 0
    if architecture is not None and (shard is None or shard[0] == 0):
        keys += _text("general.architecture") + struct.pack("<I", 8) + _text(architecture)
        count += 1
    if shard is not None:
        for name, value in zip(("split.no", "split.count"), shard, strict=True):
            keys += _text(name) + struct.pack("<II", 4, value)
            count += 1
    return b"GGUF" + struct.pack("<IQQ", 3, 0, count) + keys + os.urandom(size)


def shards(stem: str, count: int, size: int = 50_000) -> dict[str, bytes]:
    """Path -> bytes of a model in `count` files."""
    return {f"{stem}-{no + 1:05}-of-{count:05}.gguf": model(size, shard=(no, count)) for no in range(count)}
