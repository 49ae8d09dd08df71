"""Reads GGUF headers: the metadata of a model file, without its tensors.

We use our own reader, since `gguf.GGUFReader` decodes every array: it took 9.65 s on a header with 152k tokens and 300k
merges. This one maps the file and skips arrays. It decodes only what is asked for. Format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.errors import GgufError

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
# No header has nearly as many keys. A file that claims more is damaged.
_KEYS_LIMIT = 65536
_DEPTH_LIMIT = 4
# Far above any vocabulary or chat template. A damaged length must not cause minutes of allocation or loops.
_ITEMS_LIMIT = 1 << 24
_STRING_LIMIT = 1 << 26

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Array:
    """An array in the header, not decoded. `size` is in bytes."""

    path: Path
    item_type: int
    count: int
    offset: int
    size: int

    def __len__(self) -> int:
        return self.count

    @property
    def holds_texts(self) -> bool:
        return self.item_type == _STRING

    def __iter__(self) -> Iterator[Any]:
        """Decodes the items, which are scalars or strings. Raises GgufError."""
        with mapped(self.path) as data:
            reader = HeaderReader(self.path, data, self.offset)
            for _ in range(self.count):
                yield reader.scalar(self.item_type)

    def raw(self, start: int = 0) -> bytes:
        """Returns the bytes of the items from number `start` on, each string with its length. Raises GgufError.

        Arrays of one type are equal if these bytes are equal, so comparing two vocabularies takes a millisecond.
        """
        with mapped(self.path) as data:
            reader = HeaderReader(self.path, data, self.offset)
            reader.skip_items(self.item_type, min(start, self.count))
            at = reader.step(self.offset + self.size - reader.at)
            return data[at : reader.at]

    def texts(self) -> Iterator[bytes]:
        """Yields strings as bytes, which need not be UTF-8. Raises GgufError."""
        if not self.holds_texts:
            raise GgufError(self.path, "holds numbers where texts belong")
        data, at, unpack = self.raw(), 0, U64.unpack_from
        try:
            for _ in range(self.count):
                start = at + 8
                at = start + unpack(data, at)[0]
                yield data[start:at]
        except (struct.error, OverflowError):
            raise GgufError(self.path, "has changed while it was read") from None


@dataclass(frozen=True, slots=True)
class Header:
    """`metadata` holds scalars and strings, `arrays` the skipped arrays.

    `file_size` is in bytes, of this file alone.
    """

    path: Path
    version: int
    tensor_count: int
    file_size: int
    metadata: dict[str, Scalar] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    tensors_at: int = 0  # The offset of the tensor list

    def number(self, key: str) -> int | None:
        """Returns a whole number, or None if the key is absent or has another type.

        `{arch}` stands for the architecture.
        """
        value = self.metadata.get(key.replace("{arch}", self.architecture or ""))
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, key: str) -> bool | None:
        """Returns a boolean, or None if the key is absent or has another type. Absent is not false."""
        value = self.metadata.get(key)
        return value if isinstance(value, bool) else None

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    @property
    def architecture(self) -> str | None:
        return self.text("general.architecture")

    @property
    def name(self) -> str | None:
        return self.text("general.name")

    @property
    def context_length(self) -> int | None:
        """The context in tokens of the model's training (llama.cpp's n_ctx_train)."""
        return self.number("{arch}.context_length")

    @property
    def block_count(self) -> int | None:
        return self.number("{arch}.block_count")

    @property
    def tokenizer(self) -> str | None:
        """llama.cpp's name of the tokenizer: `llama` (SPM), `gpt2` (BPE), `bert` (WPM), ..."""
        return self.text("tokenizer.ggml.model")

    @property
    def vocabulary_size(self) -> int | None:
        tokens = self.arrays.get("tokenizer.ggml.tokens")
        return len(tokens) if tokens is not None else self.number("{arch}.vocab_size")

    @property
    def split_count(self) -> int:
        """The number of shards of the model, 1 for a single file."""
        return self.number("split.count") or 1


class HeaderReader:
    """A cursor over the mapped file. Checks every read against the end of the file."""

    def __init__(self, path: Path, data: bytes | mmap.mmap, at: int = 0) -> None:
        self.path = path
        self.data = data
        self.at = at

    def fail(self, reason: str, *, code: str = "not_gguf") -> GgufError:
        return GgufError(self.path, reason, code=code)

    def step(self, size: int) -> int:
        """Skips `size` bytes and returns their offset."""
        start, end = self.at, self.at + size
        if end > len(self.data):
            raise self.fail("the header is cut off: the file is incomplete, download it again", code="truncated")
        self.at = end
        return start

    def unpack(self, kind: struct.Struct) -> Any:
        return kind.unpack_from(self.data, self.step(kind.size))[0]

    def string(self) -> str:
        size = self.unpack(U64)
        start = self.step(size)
        if size > _STRING_LIMIT:
            raise self.fail(f"is damaged: its header claims a text of {size} bytes")
        return self.data[start : start + size].decode("utf-8", "replace")

    def scalar(self, kind: int) -> Scalar:
        if kind == _STRING:
            return self.string()
        if kind not in _SCALARS:
            raise self.fail(
                f"the header holds an unknown value type ({kind}): the file is damaged or of a newer format"
            )
        value: Scalar = self.unpack(_SCALARS[kind])
        return value

    def skip_array(self, depth: int = 0) -> Array:
        kind, count, start = self.unpack(U32), self.unpack(U64), self.at
        self.skip_items(kind, count, depth)
        return Array(self.path, kind, count, start, self.at - start)

    def skip_items(self, kind: int, count: int, depth: int = 0) -> None:
        if kind in _SCALARS:
            self.step(_SCALARS[kind].size * count)
        elif count * 8 > len(self.data) - self.at:
            # Each item has a length of eight bytes at least, which also bounds the loops below
            raise self.fail("the header is cut off: an array is longer than the file")
        elif count > _ITEMS_LIMIT:
            raise self.fail(f"is damaged: its header claims an array of {count} items")
        elif kind == _STRING:
            self._skip_strings(count)
        elif kind == _ARRAY and depth < _DEPTH_LIMIT:
            for _ in range(count):
                self.skip_array(depth + 1)
        else:
            raise self.fail(f"the header holds an array of an unknown type ({kind})")

    def _skip_strings(self, count: int) -> None:
        # The hot loop: a vocabulary and its merges have some hundred thousand strings.
        data, at, end, unpack = self.data, self.at, len(self.data), U64.unpack_from
        try:
            for _ in range(count):
                at += 8 + unpack(data, at)[0]
        except (struct.error, OverflowError):
            at = end + 1
        self.at = 0
        self.step(at)


class mapped:
    """Maps the file. An empty file cannot be mapped and gives empty bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> bytes | mmap.mmap:
        try:
            with self._path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            return b""
        except OSError as error:
            raise GgufError(self._path, f"cannot be read: {error.strerror}") from None
        return self._map

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_map"):
            self._map.close()


def read_header(path: Path) -> Header:
    """Reads the header of one file. The first shard of a model holds its metadata. Raises GgufError."""
    with mapped(path) as data:
        reader = HeaderReader(path, data)
        version = _version(reader)
        tensor_count, key_count = reader.unpack(U64), reader.unpack(U64)
        if key_count > _KEYS_LIMIT:
            raise reader.fail(f"is damaged: its header claims {key_count} keys")
        header = Header(path, version, tensor_count, len(data))
        for _ in range(key_count):
            key, kind = reader.string(), reader.unpack(U32)
            if kind == _ARRAY:
                header.arrays[key] = reader.skip_array()
            else:
                header.metadata[key] = reader.scalar(kind)
        return replace(header, tensors_at=reader.at)


def check_magic(path: Path) -> None:
    """Raises GgufError if a file is not GGUF. Reads eight bytes only, so every cold start can call it."""
    with mapped(path) as data:
        _version(HeaderReader(path, data))


def _version(reader: HeaderReader) -> int:
    start = reader.data[:4]
    if start != MAGIC:
        what = "it is empty" if not start else f"it begins with {repr(start)[1:]} instead of 'GGUF'"
        raise reader.fail(f"is not a GGUF file: {what}")
    reader.step(4)
    version: int = reader.unpack(U32)
    if version not in (2, 3):
        big = version in (2 << 24, 3 << 24)
        raise reader.fail("is big-endian GGUF" if big else f"is GGUF version {version}; 2 and 3 are readable")
    return version
