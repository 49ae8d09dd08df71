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
                f"{path}: no room is left on the disk ({error.strerror}). What was received is kept: "
                "make room and pull again to go on."
            ) from None
        if error.errno == errno.EFBIG:
            raise DiskFullError(
                f"{path}: no file may be this large here, by the file system (FAT ends at 4 GB) or by a limit of "
                "this process (ulimit -f). What was received is kept: lift the limit and pull again, or point "
                "models_dir elsewhere."
            ) from None
        raise StoreError(f"{path}: {error.strerror}.") from None
