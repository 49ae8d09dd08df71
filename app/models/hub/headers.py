"""Headers of GGUF files on the Hub, without their tensors: some megabytes of a file of gigabytes.

The cache holds the most recent headers by checksum, so each is fetched once.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.errors import GgufError, HubError
from app.models.download.http import HttpConnections
from app.models.download.journal import FileVersion
from app.models.download.ranges import ByteSource, RangeFetcher
from app.models.gguf.header import read_header
from app.models.gguf.tensors import parameter_count

# Most headers are a vocabulary of 2 to 16 MB
_FIRST, _MOST = 4 << 20, 64 << 20
_PIECE = 1 << 18
_KEPT = 40


def header_file(hub: ByteSource, identity: FileVersion, folder: Path) -> Path:
    """Returns a file in `folder` with the beginning of the Hub's file: its header and list of tensors.

    Blocks. Raises HubError, or GgufError for another kind of file.
    """
    path = folder / f"{identity.digest.partition(':')[2]}.gguf"
    if path.is_file():
        return path
    with HttpConnections() as wire:
        fetcher = RangeFetcher(wire, hub, identity, threading.Event(), lambda _: None)
        return _kept(fetcher, identity, path)


def _kept(fetcher: RangeFetcher, identity: FileVersion, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part") as file:
            for end in _lengths(identity.size):
                for piece in _bytes(fetcher, file.tell(), end):
                    file.write(piece)
                file.flush()
                if _complete(Path(file.name), last=end >= min(identity.size, _MOST)):
                    os.link(file.name, path)
                    break
    except FileExistsError:  # another request was faster
        pass
    except OSError as error:
        raise HubError(f"{path.parent}: the header of {identity.path} cannot be kept: {error.strerror}.") from None
    _forget_the_oldest(path.parent)
    return path


def _forget_the_oldest(folder: Path) -> None:
    with suppress(OSError):
        files = sorted(folder.glob("*.gguf"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[: max(0, len(files) - _KEPT)]:
            path.unlink(missing_ok=True)


def _lengths(size: int) -> Iterator[int]:
    """How much to have, the least first."""
    end = _FIRST
    while end < min(size, _MOST):
        yield end
        end *= 2
    yield min(size, _MOST)


def _bytes(fetcher: RangeFetcher, start: int, end: int) -> Iterator[bytes]:
    piece = memoryview(bytearray(_PIECE))
    left = end - start

    def room() -> memoryview:
        return piece[: min(_PIECE, left)]

    for count in fetcher.pieces(start, end, room):
        yield bytes(piece[:count])
        left -= count


def _complete(path: Path, *, last: bool) -> bool:
    """Tells whether header and list are complete. Raises GgufError for damage that more bytes would not repair."""
    try:
        parameter_count(read_header(path))
    except GgufError:
        if last:
            raise
        return False
    return True
