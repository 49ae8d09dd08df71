"""Reads the fields that routing needs from a multipart form (RFC 7578): two small ones beside a large file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.errors import InvalidBodyError
from app.relay.request.body import Routing
from app.relay.request.json_edit import with_spans

_BOUNDARY = re.compile(rb'multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'\r\ncontent-disposition:[^\r\n]*;\s*name="?([^";\r\n]*)"?', re.IGNORECASE)
# Limits of a part's headers and of a field's value. A larger field is not for the relay.
_LARGEST_HEAD = 8192
_LARGEST_VALUE = 1024
# No API has a tenth as many parts.
MOST_PARTS = 1000


def boundary_of(content_type: bytes) -> bytes | None:
    """Returns the boundary, or None if the content type is not a form."""
    match = _BOUNDARY.match(content_type)
    return (match[1] or match[2]) if match else None


def routing(body: bytes, boundary: bytes) -> Routing:
    """Returns the routing of a form. Raises InvalidBodyError, whose text is for the client."""
    fields = {name: body[start:end] for name, start, end in _fields(body, boundary)}
    if not fields:
        raise InvalidBodyError("The form is empty, or its parts do not begin with its boundary.")
    try:
        model = fields[b"model"].decode() if b"model" in fields else None
    except UnicodeDecodeError:
        raise InvalidBodyError("'model' must be text.") from None
    return Routing(model=model, stream=fields.get(b"stream", b"").strip().lower() in (b"true", b"1"))


def with_model(body: bytes, boundary: bytes, name: str) -> bytes:
    """Returns the form with another value of `model`, added if there is none."""
    spans = [(start, end) for field, start, end in _fields(body, boundary) if field == b"model"]
    if not spans:
        head = b'--%s\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n' % (boundary, name.encode())
        return head + body
    return with_spans(body, [(start, end, name.encode()) for start, end in spans])


def _fields(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, start and end of each part's value. A large value gives an empty span.

    Raises InvalidBodyError if there are more than MOST_PARTS parts.
    """
    parts, delimiter = 0, b"--" + boundary
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    while at >= 0 and body.startswith(delimiter, at):
        start = at + len(delimiter)
        if body.startswith(b"--", start):
            return
        blank = body.find(b"\r\n\r\n", start, start + _LARGEST_HEAD)
        if blank < 0:
            return
        name = _NAME.search(body, start, blank + 2)
        value = blank + 4
        end = body.find(b"\r\n" + delimiter, value)
        if end < 0:
            return
        parts += 1
        if parts > MOST_PARTS:
            raise InvalidBodyError(f"The form has more than {MOST_PARTS} parts.")
        if name:
            yield name[1], value, end if end - value <= _LARGEST_VALUE else value
        at = end + 2
