"""Shortens embeddings to `dimensions` numbers, and scales them to length one. Pure."""

from __future__ import annotations

import binascii
import math
from array import array
from base64 import b64decode, b64encode
from typing import Any

import msgspec

from app.errors import InvalidBodyError
from app.relay.amendments.sums import ChoiceCounts

_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ShorterVectors:
    """Changes the answer of /v1/embeddings with one row in memory at a time."""

    def __init__(self, dimensions: int) -> None:
        self.tally: ChoiceCounts | None = None
        self.per_prompt = 1
        self._dimensions = dimensions

    def whole(self, body: bytes) -> bytes:
        """Raises InvalidBodyError if the model's vectors are shorter than requested."""
        try:
            fields = _FIELDS.decode(body)
            rows = _ROWS.decode(fields.get("data", b"[]"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        cut = b",".join(self._row(bytes(row)) for row in rows)
        return msgspec.json.encode(fields | {"data": msgspec.Raw(b"[" + cut + b"]")})

    def feed(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""

    def _row(self, text: bytes) -> bytes:
        row = msgspec.json.decode(text)
        vector = _numbers(row.get("embedding")) if isinstance(row, dict) else None
        if vector is None or len(vector) == self._dimensions:
            return text
        if len(vector) < self._dimensions:
            message = f"'dimensions' is {self._dimensions}, but this model's vectors have only {len(vector)} numbers."
            raise InvalidBodyError(message, param="dimensions")
        shorter = vector[: self._dimensions]
        length = math.sqrt(math.fsum(number * number for number in shorter)) or 1.0
        numbers = [number / length for number in shorter]
        if isinstance(row["embedding"], str):
            row["embedding"] = b64encode(_little_endian(numbers)).decode()
        else:
            row["embedding"] = numbers
        return msgspec.json.encode(row)


def _numbers(embedding: Any) -> list[float] | None:
    """The numbers of a list, or of base64 of 32-bit floats; None for anything else."""
    if isinstance(embedding, list):
        return embedding if all(isinstance(number, int | float) for number in embedding) else None
    if not isinstance(embedding, str):
        return None
    try:
        numbers = array("f", b64decode(embedding, validate=True))
    except (binascii.Error, ValueError):
        return None
    _swap_unless_little(numbers)
    return numbers.tolist()


def _little_endian(numbers: list[float]) -> bytes:
    packed = array("f", numbers)
    _swap_unless_little(packed)
    return packed.tobytes()


def _swap_unless_little(numbers: array[float]) -> None:
    if array("H", [1]).tobytes() != b"\x01\x00":
        numbers.byteswap()
