"""JSON as Python objects, where there is no way around it, in memory of known size. Pure.

An empty object takes three bytes of a body and seventy of memory: 64 MiB of them would be gigabytes here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.errors import InvalidBodyError

# Far more than any model's context holds; at most half a gigabyte of objects.
MOST_VALUES = 2_000_000
_MARKS = (b",", b"[", b"{")


def crowded(text: bytes | msgspec.Raw, marks: tuple[bytes, ...] = _MARKS) -> bool:
    """Whether it may hold more than MOST_VALUES of what begins with one of `marks`; those in texts count too."""
    if len(memoryview(text)) <= MOST_VALUES:
        return False
    content = bytes(text)
    return sum(content.count(mark) for mark in marks) > MOST_VALUES


def refuse_crowded(text: bytes | msgspec.Raw, marks: tuple[bytes, ...] = _MARKS) -> None:
    """Raises InvalidBodyError."""
    if crowded(text, marks):
        raise InvalidBodyError(f"The body has more than {MOST_VALUES} values; no model reads so many.")


def decoded(text: bytes | msgspec.Raw) -> Any:
    """Raises InvalidBodyError for what is no JSON, or too many values."""
    refuse_crowded(text)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError(f"The body is not valid JSON: {error}.") from None
