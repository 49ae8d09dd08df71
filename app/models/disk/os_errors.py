"""Translates errors of the file system into messages."""

from __future__ import annotations

import errno
from pathlib import Path
from types import TracebackType

from app.errors import DiskFullError, StoreError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class in_words:
    """Converts an OSError, about `path` if it names none, to DiskFullError or StoreError.

    A BrokenPipeError of the output passes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
            return
        path = error.filename or self._path
        if error.errno in _NO_ROOM:
            raise DiskFullError(
                f"{path}: the disk is full ({error.strerror}). The bytes received so far are kept. "
                "Make room and pull again to resume."
            ) from None
        if error.errno == errno.EFBIG:
            raise DiskFullError(
                f"{path}: the file is too large for the file system (FAT: 4 GB) or for the limit of this process "
                "(ulimit -f). The bytes received so far are kept. Raise the limit and pull again, or point "
                "models_dir elsewhere."
            ) from None
        raise StoreError(f"{path}: {error.strerror}.") from None
