"""Repairs a JSON body's text for every parser behind the gateway: BOM, UTF-8, unpaired surrogates. Pure.

llama-server's parser rejects all three, with its library's message and a part of the request. The check is cheap: a
body without any of them is searched twice and returned unchanged.
"""

from __future__ import annotations

import codecs
import re

from app.errors import InvalidBodyError
from app.relay.request.body import Message, Receive
from app.relay.turns import Steps, at_once

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# Bytes per step, and per step with escapes: each of them may be half a pair
_STEP, _ESCAPED_STEP = 256 * 1024, 16 * 1024
_LONGEST_HALF = 12
_REPLACEMENT = rb"\ufffd"
# An unpaired surrogate: a high one without a low one after it, or a low one without a high one before it.
_HALF = re.compile(
    rb"\\u(?:[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|[dD][c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB]..\\u....))",
    re.DOTALL,
)


def without_bom(receive: Receive) -> Receive:
    """Returns a `receive` that drops a BOM at the beginning of the body, for readers that take none."""
    begun = False

    async def receive_text() -> Message:
        nonlocal begun
        message = await receive()
        if not begun and (body := message.get("body")):
            begun = True
            if body.startswith(_BOM):
                return {**message, "body": body[len(_BOM) :]}
        return message

    return receive_text


def readable(body: bytes) -> bytes:
    """Returns the body without a BOM, and with U+FFFD for each unpaired surrogate.

    Raises InvalidBodyError with the offset if the body is not UTF-8.
    """
    return at_once(readable_in_steps(body))


def readable_in_steps(body: bytes) -> Steps[bytes]:
    """Returns the same, in steps of a few milliseconds at most."""
    if body.startswith(_BOM):
        body = body[len(_BOM) :]
    yield from _refuse_other_encodings(body)
    return (yield from _with_whole_characters(body))


def _refuse_other_encodings(body: bytes) -> Steps[None]:
    if body.startswith(_UTF_16):
        raise InvalidBodyError("The body is UTF-16; JSON is sent as UTF-8.")
    view, start, end = memoryview(body), 0, len(body)
    while start < end:
        if start:
            yield
        part = view[start : start + _STEP]
        if start == 0 and len(part) == end and body.isascii():
            return
        try:
            _, length = codecs.utf_8_decode(part, "strict", start + _STEP >= end)
        except UnicodeDecodeError as error:
            at = start + error.start
            message = f"The body is not UTF-8: byte 0x{body[at]:02x} at offset {at} begins no character."
            raise InvalidBodyError(message) from None
        start += length


def _with_whole_characters(body: bytes) -> Steps[bytes]:
    parts, done = [], 0
    start = yield from _first_escape(body)
    while start < len(body):
        end, pieces = start + _ESCAPED_STEP, []
        # What follows a half tells whether it is one
        for half in _HALF.finditer(body, start, end + _LONGEST_HALF):
            if half.start() >= end or _escaped(body, half.start()):
                continue
            pieces += [body[done : half.start()], _REPLACEMENT]
            done = half.end()
        parts.append(b"".join(pieces))
        start = max(end, done)
        yield
    return b"".join([*parts, body[done:]]) if done else body


def _first_escape(body: bytes) -> Steps[int]:
    """Returns where the first escape of a character is, or the length of the body."""
    for start in range(0, len(body), _STEP):
        if (at := body.find(b"\\u", start, start + _STEP + 1)) >= 0:
            return at
        if len(body) > _STEP:
            yield
    return len(body)


def _escaped(body: bytes, backslash: int) -> bool:
    """Tells whether another backslash escapes this one."""
    size = 16
    while True:
        before = body[max(0, backslash - size) : backslash]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes < size or size >= backslash:
            return backslashes % 2 == 1
        size *= 2
