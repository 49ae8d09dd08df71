"""Decodes JSON to Python objects within a known amount of memory, where the relay has to. Pure.

An empty object takes three bytes of a body and seventy of memory, so 64 MiB of them would take gigabytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.errors import InvalidBodyError

# Far more than the context of any model holds. Limits the objects to half a gigabyte.
MOST_VALUES = 2_000_000
_MARKS = (b",", b"[", b"{")


def crowded(text: bytes | msgspec.Raw, marks: tuple[bytes, ...] = _MARKS) -> bool:
    """Tells whether the body may hold more than MOST_VALUES values that begin with one of `marks`.

    Marks in texts count too.
    """
    if len(memoryview(text)) <= MOST_VALUES:
        return False
    content = bytes(text)
    return sum(content.count(mark) for mark in marks) > MOST_VALUES


def refuse_crowded(text: bytes | msgspec.Raw, marks: tuple[bytes, ...] = _MARKS) -> None:
    """Raises InvalidBodyError if the body has too many values."""
    if crowded(text, marks):
        raise InvalidBodyError(f"The body has more than {MOST_VALUES} values; no model reads so many.")


def decoded(text: bytes | msgspec.Raw) -> Any:
    """Decodes a body. Raises InvalidBodyError for invalid JSON or too many values."""
    refuse_crowded(text)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError(f"The body is not valid JSON: {error}.") from None
