"""Edits top-level fields of a JSON object in its bytes. All other bytes stay the same. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

import msgspec

from app.errors import InvalidBodyError

# The bytes before a value: white space, the comma after the previous value, the key and its colon.
_KEY = re.compile(rb'[\s,{]*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*', re.DOTALL)
_EMPTY = re.compile(rb"\s*\}")
# No API has a tenth as many fields.
MOST_FIELDS = 1000


@dataclass(frozen=True, slots=True)
class Field:
    """A top-level key, with the positions of the key and its value in the body. A repeated key makes two fields."""

    name: str
    start: int
    value: int
    end: int


def fields_of(body: bytes) -> list[Field]:
    """Returns the fields of a JSON object in their order. Raises InvalidBodyError if the body is no object.

    msgspec finds the ends of values: 64 MiB of brackets take it a fifth of a second, and a Python loop a minute.
    """
    fields: list[Field] = []
    at = 0
    for name, value in _read(body):
        key = _KEY.match(body, at)
        assert key is not None  # msgspec has just accepted the body
        at = key.end() + len(memoryview(value))
        fields.append(Field(name, key.start(1), key.end(), at))
    return fields


def _read(body: bytes) -> list[tuple[str, msgspec.Raw]]:
    try:
        return _pairs(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError(f"The body cannot be read: {error}.") from None


class _Key:
    """One spelling of a key. A second key of the same name is another object."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def _pairs(body: bytes) -> list[tuple[str, msgspec.Raw]]:
    count = 0

    def key(_: type, name: str) -> _Key:
        nonlocal count
        count += 1
        if count > MOST_FIELDS:
            raise ValueError(f"it has more than {MOST_FIELDS} fields")
        return _Key(name)

    values = msgspec.json.decode(body, type=dict[_Key, msgspec.Raw], dec_hook=key)
    return [(key.name, value) for key, value in values.items()]


def with_model(body: bytes, name: str, fields: list[Field] | None = None) -> bytes:
    """Returns the body with another top-level `model`. `fields` are those of the body, if they are known already."""
    return edited(body, {"model": msgspec.json.encode(name)}, fields=fields)


def edited(
    body: bytes, values: Mapping[str, bytes], drop: Container[str] = (), fields: list[Field] | None = None
) -> bytes:
    """Returns the body with `values` (JSON by name) set, and without the client's own fields of `drop`.

    `fields` are those of the body, if they are known already.
    """
    fields = fields_of(body) if fields is None else fields
    kept = [field for field in fields if field.name not in drop]
    changes = [(f.value, f.end, values[f.name]) for f in kept if f.name in values]
    changes += [(start, end, b"") for start, end in _without(fields, drop)]
    # Of a repeated key both are replaced, since parsers differ on which one counts.
    body = with_spans(body, changes)
    present = {field.name for field in kept}
    return _with_more(body, {name: value for name, value in values.items() if name not in present})


def with_spans(body: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Returns the body with other bytes at each (start, end). The body is copied once, however many there are."""
    pieces, done = [], 0
    for start, end, value in sorted(changes):
        pieces += [body[done:start], value]
        done = end
    return b"".join([*pieces, body[done:]]) if pieces else body


def _without(fields: list[Field], drop: Container[str]) -> list[tuple[int, int]]:
    """Returns the spans to cut: from a field to the next one, or from the end of the last field that stays."""
    cuts: list[tuple[int, int]] = []
    last_kept: Field | None = None
    for field, following in zip_longest(fields, fields[1:]):
        if field.name not in drop:
            last_kept = field
        elif following is not None:
            cuts.append((field.start, following.start))
        else:
            start = last_kept.end if last_kept else field.start
            cuts = [cut for cut in cuts if cut[0] < start]
            cuts.append((start, field.end))
    return cuts


def _with_more(body: bytes, values: Mapping[str, bytes]) -> bytes:
    if not values:
        return body
    start = body.index(b"{") + 1
    comma = b"" if _EMPTY.match(body, start) else b","
    added = b",".join(msgspec.json.encode(name) + b":" + value for name, value in values.items())
    return body[:start] + added + comma + body[start:]
