"""Caches headers while stat reports that their files are unchanged.

Six hundred entries may name one file, and a start reads its headers more than once.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from app.errors import GgufError
from app.models.gguf.header import Header, read_header
from app.models.gguf.tensors import Tensor, check_whole, parameter_count, tensors_of

Stamp = tuple[int, int, int]


def stamp_of(path: Path) -> Stamp:
    """Returns a value that changes with the file. Raises GgufError."""
    try:
        stat = path.stat()
    except OSError as error:
        raise GgufError(path, f"cannot be read: {error.strerror}") from None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def header_of(path: Path) -> Header:
    """As `read_header`. Do not modify the result. Raises GgufError."""
    return _header(path, stamp_of(path))


def check_whole_of(path: Path) -> None:
    """As `check_whole`. Raises GgufError."""
    _whole(path, stamp_of(path))


def parameters_in(path: Path) -> int:
    """As `parameter_count`. Raises GgufError."""
    return _parameters(path, stamp_of(path))


def tensors_in(path: Path) -> tuple[Tensor, ...]:
    """As `tensors_of`. Raises GgufError."""
    return _tensors(path, stamp_of(path))


# More than the models that a gateway lists at once
@lru_cache(maxsize=4096)
def _header(path: Path, _stamp: Stamp) -> Header:
    return read_header(path)


@lru_cache(maxsize=512)
def _whole(path: Path, stamp: Stamp) -> None:
    check_whole(_header(path, stamp))


@lru_cache(maxsize=4096)
def _parameters(path: Path, stamp: Stamp) -> int:
    return parameter_count(_header(path, stamp))


@lru_cache(maxsize=64)
def _tensors(path: Path, stamp: Stamp) -> tuple[Tensor, ...]:
    return tensors_of(_header(path, stamp))
