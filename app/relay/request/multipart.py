"""Reads the fields that routing needs from a multipart form (RFC 7578): two small ones beside a large file. Pure."""

from __future__ import annotations

import re

from app.errors import InvalidBodyError
from app.relay.request.body import Routing
from app.relay.request.json_edit import Field, with_spans
from app.relay.turns import Steps, at_once

_BOUNDARY = re.compile(rb'multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'\r\ncontent-disposition:[^\r\n]*;\s*name="?([^";\r\n]*)"?', re.IGNORECASE)
# Limits of a part's headers and of a field's value. A larger field is not for the relay.
_LARGEST_HEAD = 8192
_LARGEST_VALUE = 1024
# Bytes that are searched in one turn of the event loop
_STEP = 1 << 20
# No API has a tenth as many parts.
MOST_PARTS = 1000


def boundary_of(content_type: bytes) -> bytes | None:
    """Returns the boundary, or None if the content type is not a form."""
    match = _BOUNDARY.match(content_type)
    return (match[1] or match[2]) if match else None


def routing(body: bytes, boundary: bytes, fields: list[Field] | None = None) -> Routing:
    """Returns the routing of a form. `fields` are its own, if they are known.

    Raises InvalidBodyError, whose text is for the client.
    """
    spans = at_once(fields_in_steps(body, boundary)) if fields is None else fields
    values = {field.name: body[field.value : field.end] for field in spans}
    if not values:
        raise InvalidBodyError("The form is empty, or its parts do not begin with its boundary.")
    try:
        model = values["model"].decode() if "model" in values else None
    except UnicodeDecodeError:
        raise InvalidBodyError("'model' must be text.") from None
    return Routing(model=model, stream=values.get("stream", b"").strip().lower() in (b"true", b"1"))


def with_model(body: bytes, boundary: bytes, name: str, fields: list[Field] | None = None) -> bytes:
    """Returns the form with another value of `model`, added if there is none. `fields` are its own, if known."""
    spans = at_once(fields_in_steps(body, boundary)) if fields is None else fields
    models = [(field.value, field.end, name.encode()) for field in spans if field.name == "model"]
    if not models:
        head = b'--%s\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n' % (boundary, name.encode())
        return head + body
    return with_spans(body, models)


def fields_in_steps(body: bytes, boundary: bytes) -> Steps[list[Field]]:
    """Returns the parts with a name, without copying them. A large value gives an empty span.

    Raises InvalidBodyError if there are more than MOST_PARTS parts.
    """
    fields: list[Field] = []
    parts, delimiter = 0, b"--" + boundary
    at = 0 if body.startswith(delimiter) else (yield from _find(body, b"\r\n" + delimiter, 0)) + 2
    while at >= 0 and body.startswith(delimiter, at):
        start = at + len(delimiter)
        blank = -1 if body.startswith(b"--", start) else body.find(b"\r\n\r\n", start, start + _LARGEST_HEAD)
        if blank < 0:
            break
        name = _NAME.search(body, start, blank + 2)
        value = blank + 4
        end = yield from _find(body, b"\r\n" + delimiter, value)
        if end < 0:
            break
        parts += 1
        if parts > MOST_PARTS:
            raise InvalidBodyError(f"The form has more than {MOST_PARTS} parts.")
        if name:
            known = name[1].decode("utf-8", "replace")
            fields.append(Field(known, start, value, end if end - value <= _LARGEST_VALUE else value))
        at = end + 2
    return fields


def _find(body: bytes, text: bytes, at: int) -> Steps[int]:
    """Returns what `body.find(text, at)` does."""
    for start in range(at, len(body), _STEP):
        if (place := body.find(text, start, start + _STEP + len(text))) >= 0:
            return place
        if start + _STEP < len(body):
            yield
    return -1
