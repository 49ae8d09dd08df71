"""A JSON body's text, made readable for every parser behind: BOM, UTF-8, halves of surrogate pairs. Pure.

llama-server's parser refuses all three with words of its library and a piece of the request. Each is cheap to look
for: a body without any of them is searched twice and left as it is.
"""

from __future__ import annotations

import codecs
import re

from app.errors import InvalidBodyError

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_STEP = 64 * 1024
_REPLACEMENT = rb"\ufffd"
# Half of a surrogate pair: a high one that no low one follows, or a low one that no high one stands before.
_HALF = re.compile(
    rb"\\u(?:[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|[dD][c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB]..\\u....))",
    re.DOTALL,
)


def readable(body: bytes) -> bytes:
    """The body without a BOM, and with U+FFFD for each half of a surrogate pair.

    Raises InvalidBodyError, with the place, where it is not UTF-8.
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
    """Whether the backslash is itself what one before it stands for."""
    before = backslash
    while before and body[before - 1] == 0x5C:
        before -= 1
    return (backslash - before) % 2 == 1
