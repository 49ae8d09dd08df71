"""Finds the top-level fields of a large JSON object in steps, without decoding their values. Pure.

A decoder takes a third of a second for 64 MiB, in which every stream stands still. The scan does not check what is
inside the values: the engine, or whatever decodes them, reports errors there.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from itertools import accumulate

import msgspec

from app.errors import InvalidBodyError
from app.relay.request.body import KEPT_AS_BYTES, Routing, routing
from app.relay.request.json_edit import MOST_FIELDS, Field
from app.relay.turns import Steps

# Bytes per step. If all of them are quotes or brackets, a step takes a few milliseconds.
STEP = 16 * 1024
# Of a body that is translated. Its answer repeats parts of it, which makes them deeper
MOST_NESTED = 500
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb'[^ \t\r\n,:\[\]{}"]*+')
_IN_TEXT = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_REST_OF_TEXT = re.compile(_IN_TEXT, re.DOTALL)
_TEXT = re.compile(rb'"' + _IN_TEXT + rb'"', re.DOTALL)
# Up to the end, or to a text that has no end
_WHOLE_TEXTS = re.compile(rb'[^"]*+(?:"' + _IN_TEXT + rb'"[^"]*+)*+', re.DOTALL)
_TOKENS = re.compile(rb'"' + _IN_TEXT + rb'"|[\[{]|[\]}]', re.DOTALL)
# Brackets as steps of depth, one signed byte each
_OPENING, _CLOSING = b"[{", b"]}"
_STEPS_OF_DEPTH = bytes.maketrans(_OPENING + _CLOSING, b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(_OPENING + _CLOSING))


def fields_in_steps(body: bytes) -> Steps[list[Field]]:
    """Returns the fields of a JSON object in their order. Raises InvalidBodyError."""
    fields: list[Field] = []
    at = yield from _blanks_end(body, 0)
    if not body.startswith(b"{", at):
        raise InvalidBodyError("The body must be a JSON object." if body[at : at + 1] else "The body is empty.")
    at = yield from _blanks_end(body, at + 1)
    more = not body.startswith(b"}", at)
    while more:
        field = yield from _field(body, at)
        fields.append(field)
        if len(fields) > MOST_FIELDS:
            raise InvalidBodyError(f"The body has more than {MOST_FIELDS} fields.")
        at = yield from _blanks_end(body, field.end)
        more = body.startswith(b",", at)
        if more:
            at = yield from _blanks_end(body, at + 1)
        elif not body.startswith(b"}", at):
            raise _invalid(at, "a comma or a closing brace")
    at = yield from _blanks_end(body, at + 1)
    if at < len(body):
        raise _invalid(at, "the end")
    return fields


def routing_of(body: bytes, fields: list[Field]) -> Routing:
    """Returns the routing of a body by its fields. Raises InvalidBodyError as `routing` does."""
    decoded = [body[field.start : field.end] for field in fields if field.name in ("model", "stream")]
    values = {field.name: msgspec.Raw(memoryview(body)[field.value : field.end]) for field in fields}
    raw = {name: values[name] for name in KEPT_AS_BYTES if name in values}
    return msgspec.structs.replace(routing(b"{" + b",".join(decoded) + b"}"), **raw)


def without_texts(body: bytes) -> Iterator[bytes]:
    """Yields JSON without the texts in it, a step at a time. A text that has no end hides the rest."""
    at = 0
    while at < len(body):
        end = _end_of(_WHOLE_TEXTS, body, at)
        yield _TEXT.sub(b"", body[at:end])
        if end == at:  # The text is longer than a step
            text = _TEXT.match(body, at)
            end = text.end() if text else len(body)
        at = end


def refuse_deep_nesting(body: bytes) -> Steps[None]:
    """Raises InvalidBodyError for arrays and objects that are nested more than MOST_NESTED deep."""
    depth = 0
    if body.count(b"{") + body.count(b"[") <= MOST_NESTED:
        return
    for bare in without_texts(body):
        depths = list(accumulate(_depths(bare), initial=depth))
        if max(depths) > MOST_NESTED:
            raise InvalidBodyError(f"The body is nested more than {MOST_NESTED} levels deep.")
        depth = depths[-1]
        yield


def _depths(bare: bytes) -> array[int]:
    return array("b", bare.translate(_STEPS_OF_DEPTH, _NO_BRACKETS))


def _field(body: bytes, start: int) -> Steps[Field]:
    if not body.startswith(b'"', start):
        raise _invalid(start, "a field's name")
    key_end = yield from _text_end(body, start)
    if key_end - start > STEP:
        raise _invalid(start, f"a field's name of at most {STEP} bytes")
    name = msgspec.json.decode(body[start:key_end], type=str)
    colon = yield from _blanks_end(body, key_end)
    if not body.startswith(b":", colon):
        raise _invalid(colon, "a colon")
    value = yield from _blanks_end(body, colon + 1)
    end = yield from _value_end(body, value)
    return Field(name, start, value, end)


def _value_end(body: bytes, at: int) -> Steps[int]:
    if body.startswith(b'"', at):
        return (yield from _text_end(body, at))
    if body.startswith((b"{", b"["), at):
        return (yield from _bracket_end(body, at))
    end = at
    while (last := _end_of(_SCALAR, body, end)) > end:
        end = last
        if end - at > STEP:
            yield
    if end == at:
        raise _invalid(at, "a value")
    return end


def _blanks_end(body: bytes, at: int) -> Steps[int]:
    while (end := _end_of(_BLANKS, body, at)) == at + STEP:
        at = end
        yield
    return end


def _text_end(body: bytes, at: int) -> Steps[int]:
    """Returns the end of the text that begins at `at` with its quote."""
    return (yield from _rest_of_text_end(body, at + 1))


def _rest_of_text_end(body: bytes, at: int) -> Steps[int]:
    while True:
        stop = min(at + STEP, len(body))
        at = _end_of(_REST_OF_TEXT, body, at)
        if body.startswith(b'"', at):
            return at + 1
        # A backslash may be the last byte of the step
        if stop == len(body):
            raise _invalid(len(body), "the end of a text")
        yield


def _bracket_end(body: bytes, at: int) -> Steps[int]:
    """Returns the end of the array or object that begins at `at`."""
    depth, at = 1, at + 1
    while at < len(body):
        end = min(at + STEP, len(body))
        whole = _end_of(_WHOLE_TEXTS, body, at)
        bare = _TEXT.sub(b"", body[at:whole])
        depths = list(accumulate(_depths(bare), initial=depth))
        if min(depths) <= 0:
            return _exact_end(body, at, depth)
        depth, at = depths[-1], end
        if whole < end:
            at = yield from _rest_of_text_end(body, end - _backslash_before(body, end))
        yield
    raise _invalid(len(body), "the end of an array or object")


def _exact_end(body: bytes, at: int, depth: int) -> int:
    """Returns where depth falls to 0, which is within the step that begins at `at`."""
    for token in _TOKENS.finditer(body, at):
        kind = body[token.start()]
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if depth == 0:
            return token.end()
    raise _invalid(len(body), "the end of an array or object")


def _backslash_before(body: bytes, end: int) -> int:
    """Returns 1 if the last byte before `end`, within a text, is a backslash that escapes the next byte."""
    size = 16
    while True:
        before = body[max(0, end - size) : end]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes < size:
            return backslashes % 2
        size *= 2


def _end_of(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    match = pattern.match(body, at, at + STEP)
    return match.end() if match else at


def _invalid(at: int, expected: str) -> InvalidBodyError:
    return InvalidBodyError(f"The body is not valid JSON: {expected} is missing at offset {at}.")
