"""Computes whole-file checksums of the kinds that the Hub uses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from app.errors import StoreError
from app.models.disk.os_errors import in_words

_PIECE = 4 << 20


class Hash(Protocol):
    """The methods of hashlib's objects that are used here."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


def new_hash(digest: str, size: int) -> Hash:
    """Returns a hash for `sha256:...` or for git's blob hash of a small file, `git:...`, which begins with the size in
    bytes."""
    kind = digest.partition(":")[0]
    if kind == "sha256":
        return hashlib.sha256()
    if kind == "git":
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    raise StoreError(f"The checksum {digest!r} is of an unknown kind.")


def digest_of(path: Path, like: str, done: Callable[[int], None]) -> str:
    """Returns the checksum of a file, of the same kind as `like`.

    Calls `done` with the bytes hashed so far. Raises StoreError.
    """
    with in_words(path), path.open("rb", buffering=0) as file:
        size = path.stat().st_size
        own, buffer, at = new_hash(like, size), bytearray(_PIECE), 0
        while count := file.readinto(buffer):
            own.update(memoryview(buffer)[:count])
            at += count
            done(at)
    return f"{like.partition(':')[0]}:{own.hexdigest()}"
