"""Reads the tensor list of a GGUF file: names, shapes and sizes, without their data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from app.models.gguf.header import U32, U64, Header, HeaderReader, mapped

_TENSORS_LIMIT, _DIMENSIONS_LIMIT = 1 << 20, 8
_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` is in ggml's order (shortest stride first). `kind` is ggml's type number. `size` is in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    size: int


def tensors_of(header: Header) -> tuple[Tensor, ...]:
    """Returns the tensors of one file, in list order. A sharded model is the sum of its shards. Raises GgufError.

    The size is the distance to the next tensor, which is also right for unknown types.
    """
    with mapped(header.path) as data:
        reader = HeaderReader(header.path, data, header.tensors_at)
        listed = list(_listed(reader, header))
        room = max(len(data) - _data_start(reader, header), 0)
    starts = sorted({offset for *_, offset in listed})
    ends = dict(zip(starts, [*starts[1:], room], strict=False))
    return tuple(Tensor(name, shape, kind, max(ends[offset] - offset, 0)) for name, shape, kind, offset in listed)


def parameter_count(header: Header) -> int:
    """Counts the parameters in this file. A sharded model is the sum of its shards. Raises GgufError."""
    with mapped(header.path) as data:
        reader = HeaderReader(header.path, data, header.tensors_at)
        return sum(math.prod(shape) for _, shape, _, _ in _listed(reader, header))


def check_whole(header: Header) -> None:
    """Raises GgufError if a file ends before its last tensor begins, as after an interrupted download."""
    with mapped(header.path) as data:
        reader = HeaderReader(header.path, data, header.tensors_at)
        last = max((offset for *_, offset in _listed(reader, header)), default=None)
        if last is not None and _data_start(reader, header) + last >= len(data):
            raise reader.fail("is incomplete, its tensors are not all there: download it again", code="truncated")


def _data_start(reader: HeaderReader, header: Header) -> int:
    """Returns the offset of the first tensor's data. `reader` is at the end of the list."""
    alignment = header.number("general.alignment") or _ALIGNMENT
    return -(-reader.at // alignment) * alignment


def _listed(reader: HeaderReader, header: Header) -> Iterator[tuple[str, tuple[int, ...], int, int]]:
    """Yields each tensor's name, shape, type and data offset in bytes after the list."""
    if header.tensor_count > _TENSORS_LIMIT:
        raise reader.fail(f"is damaged: its header claims {header.tensor_count} tensors")
    for _ in range(header.tensor_count):
        name, dimensions = reader.string(), reader.unpack(U32)
        if dimensions > _DIMENSIONS_LIMIT:
            raise reader.fail(f"is damaged: its header claims a tensor of {dimensions} dimensions")
        shape = tuple(reader.unpack(U64) for _ in range(dimensions))
        yield name, shape, reader.unpack(U32), reader.unpack(U64)
