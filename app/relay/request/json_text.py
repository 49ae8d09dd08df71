"""Repairs a JSON body's text for every parser behind the gateway: BOM, UTF-8, unpaired surrogates. Pure.

llama-server's parser rejects all three, with its library's message and a part of the request. The check is cheap: a
body without any of them is searched twice and returned unchanged.
"""

from __future__ import annotations

import codecs
import re

from app.errors import InvalidBodyError
from app.relay.request.body import Message, Receive

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_STEP = 64 * 1024
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
    if body.startswith(_BOM):
        body = body[len(_BOM) :]
    if not body.isascii():
        _refuse_other_encodings(body)
    return _with_whole_characters(body) if b"\\u" in body else body


def _refuse_other_encodings(body: bytes) -> None:
    if body.startswith(_UTF_16):
        raise InvalidBodyError("The body is UTF-16; JSON is sent as UTF-8.")
    view, start, end = memoryview(body), 0, len(body)
    while start < end:
        try:
            _, length = codecs.utf_8_decode(view[start : start + _STEP], "strict", start + _STEP >= end)
        except UnicodeDecodeError as error:
            at = start + error.start
            message = f"The body is not UTF-8: byte 0x{body[at]:02x} at offset {at} begins no character."
            raise InvalidBodyError(message) from None
        start += length


def _with_whole_characters(body: bytes) -> bytes:
    pieces, done = [], 0
    for half in _HALF.finditer(body):
        if _escaped(body, half.start()):
            continue
        pieces += [body[done : half.start()], _REPLACEMENT]
        done = half.end()
    return b"".join([*pieces, body[done:]]) if pieces else body


def _escaped(body: bytes, backslash: int) -> bool:
    """Tells whether another backslash escapes this one."""
    before = backslash
    while before and body[before - 1] == 0x5C:
        before -= 1
    return (backslash - before) % 2 == 1
