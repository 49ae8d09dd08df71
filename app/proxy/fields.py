"""The fields of a JSON object in bytes: found, exchanged, added and left out, every other byte as it was. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from itertools import zip_longest

import msgspec

# strings, punctuation, and literals (numbers, true, false, null)
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Field:
    """A key at the top level, and where it and its value stand in the body; a key written twice makes two."""

    name: str
    start: int
    value: int
    end: int


def fields_of(body: bytes) -> list[Field]:
    """Of a body that is a JSON object, in their order."""
    found: list[Field] = []
    depth, start = 0, 0
    key: re.Match[bytes] | None = None
    for token in _TOKENS.finditer(body):
        text = token.group()
        if depth == 1 and text not in b"}]":
            start = token.start()
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        if depth != 1 or text in b"{:,":
            continue
        if key is None:
            key = token
        else:
            found.append(Field(_name(key.group()), key.start(), start, token.end()))
            key = None
    return found


def _name(key: bytes) -> str:
    try:
        return msgspec.json.decode(key, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # half a surrogate pair: no field that anybody here asks for


def with_model(body: bytes, name: str) -> bytes:
    """The same bytes with another top-level `model`."""
    return edited(body, {"model": msgspec.json.encode(name)})


def edited(
    body: bytes, values: Mapping[str, bytes], drop: Container[str] = (), fields: list[Field] | None = None
) -> bytes:
    """The same bytes with the fields of `values`, JSON each, exchanged, or added where there are none; without `drop`.

    `fields` are those of the body, if they are known already.
    """
    fields = fields_of(body) if fields is None else fields
    changes = [(f.value, f.end, values[f.name]) for f in fields if f.name in values]
    changes += [(start, end, b"") for start, end in _without(fields, drop)]
    # A key written twice: parsers differ on which one counts, so both are exchanged.
    for start, end, value in sorted(changes, reverse=True):
        body = body[:start] + value + body[end:]
    there = {field.name for field in fields}
    return _with_more(body, {name: value for name, value in values.items() if name not in there})


def _without(fields: list[Field], drop: Container[str]) -> list[tuple[int, int]]:
    """What to cut: a field up to the next one, or from the end of the last that stays."""
    cuts: list[tuple[int, int]] = []
    kept: Field | None = None
    for field, following in zip_longest(fields, fields[1:]):
        if field.name not in drop:
            kept = field
        elif following is not None:
            cuts.append((field.start, following.start))
        else:
            start = kept.end if kept else field.start
            cuts = [cut for cut in cuts if cut[0] < start]
            cuts.append((start, field.end))
    return cuts


def _with_more(body: bytes, values: Mapping[str, bytes]) -> bytes:
    if not values:
        return body
    start = body.index(b"{") + 1
    comma = b"" if body[start:].lstrip().startswith(b"}") else b","
    added = b",".join(msgspec.json.encode(name) + b":" + value for name, value in values.items())
    return body[:start] + added + comma + body[start:]
