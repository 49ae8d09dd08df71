"""Changes a body before it is relayed: the filters of its model, and amendments. Finds its remote media. Pure.

A body that is large, or has very many values, is prepared in the worker. `decoding_needed` tells which of the large
ones need no decoding, such as a request with images for a model without filters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from app.relay.amendments.amend import AMENDED_WITH, Amended, amended
from app.relay.amendments.answer import AmendedAnswer
from app.relay.amendments.draft import NULL_TEXT
from app.relay.buffered.eligibility import assembled_at, stream_is_complete
from app.relay.request.body import Routing, routing
from app.relay.request.field_types import right_as_written
from app.relay.request.filters import Filter
from app.relay.request.json_edit import Field
from app.relay.request.media import Media, Remote, find
from app.relay.request.scan import without_texts
from app.relay.turns import Steps

# A larger body is not decoded in the event loop, nor is one with more objects and arrays than this.
IN_PLACE_BYTES, IN_PLACE_BRACKETS = 1 << 20, 4000
_FEW_BYTES = 32 * 1024
_MEDIA_FIELDS = frozenset(("messages", "input", "query", "documents"))
# A text that begins with http: or https:, in any spelling of JSON. Blanks may come first. A quote that begins a text
# follows one of these bytes.
_ADDRESS = re.compile(
    rb'"(?<=[\[{,:\s]")(?:[^"\\!-~]|\\[nrtfb]|\\u[0-9a-fA-F]{4}){0,64}?'
    rb"(?:[hH]|\\u00[46]8)(?:[tT]|\\u00[57]4){2}(?:[pP]|\\u00[57]0)(?:[sS]|\\u00[57]3)?(?::|\\u003[aA])"
)
_SEARCH_STEP, _LONGEST_MATCH = 128 * 1024, 512
# Bytes of a value that tell how it begins
_HEAD = 1000


class Changes(NamedTuple):
    """The changes of a request beside its body. `target` is path and query upstream.

    `as_stream` tells whether a stream has everything that an answer in one piece has. None if that is not known.
    """

    target: str
    answer: AmendedAnswer | None
    urls: tuple[str, ...]
    as_stream: bool | None


class RemoteUrls(Remote):
    """Remote media that the worker has found."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        super().__init__({}, [])
        self.urls = urls

    def filled(self, body: bytes, media: Mapping[str, Media]) -> bytes:
        found = find_remote(routing(body))
        return body if found is None else found.filled(body, media)


def find_remote(fields: Routing) -> Remote | None:
    """Returns the remote media of a body, or None. Raises InvalidBodyError."""
    return find(fields.messages, input=fields.input, query=fields.query, documents=fields.documents)


def changed(
    target: str, body: bytes, fields: Routing, filters: Filter | None, request_id: str, *, ours: bool
) -> tuple[bytes, Amended | None, Routing]:
    """Returns the body with the filters, its amendment, and the routing of the result."""
    if filters is not None:
        body, fields = filters.apply(target.partition("?")[0], body, fields)
    if (amendment := amended(target, body, fields, request_id, ours=ours)) is None:
        return body, None, fields
    return body, amendment, routing(amendment.body)


def prepare(
    body: bytes, target: str, filters: Filter | None, request_id: str, ours: bool, whole: bool
) -> tuple[bytes, Changes]:
    """Does it all for the worker. `whole` tells that the answer comes in one piece."""
    body, amendment, fields = changed(target, body, routing(body), filters, request_id, ours=ours)
    body, target, answer = amendment or Amended(body, target)
    remote = find_remote(fields)
    as_stream = stream_is_complete(target, body, fields, drafts=True) if whole else None
    return body, Changes(target, answer, () if remote is None else remote.urls, as_stream)


def too_much_to_decode(body: bytes) -> Steps[bool]:
    """Tells whether a body has to be decoded by the worker, if at all."""
    if len(body) <= _FEW_BYTES:
        return False
    if len(body) > IN_PLACE_BYTES:
        return True
    if body.count(b"{") + body.count(b"[") <= IN_PLACE_BRACKETS:
        return False
    # Text may be full of brackets too
    brackets = 0
    for bare in without_texts(body):
        yield
        brackets += bare.count(b"{") + bare.count(b"[")
        if brackets > IN_PLACE_BRACKETS:
            return True
    return False


def _is_null(body: bytes, field: Field) -> bool:
    return field.end - field.value == len(NULL_TEXT) and body.startswith(NULL_TEXT, field.value)


def decoding_needed(body: bytes, fields: list[Field], target: str, *, whole: bool) -> Steps[bool]:
    """Tells whether a large body may need an edit, or may name media. `whole` is as for `prepare`."""
    path = target.partition("?")[0]
    amended_with = AMENDED_WITH.get(path)
    if whole and assembled_at(path):
        return True
    for field in fields:
        value = body[field.value : min(field.end, field.value + _HEAD)]
        trigger = amended_with.get(field.name, ()) if amended_with is not None else ()
        marks = trigger if isinstance(trigger, tuple) else ()
        if amended_with is not None and _is_null(body, field):
            return True
        if not isinstance(trigger, tuple) and trigger.match(value):
            return True
        if not right_as_written(path, field.name, value):
            return True
        addresses = field.name in _MEDIA_FIELDS
        if not addresses and not marks:
            continue
        for start in range(field.value, field.end, _SEARCH_STEP):
            end = min(start + _SEARCH_STEP + _LONGEST_MATCH, field.end)
            if any(body.find(mark, start, end) >= 0 for mark in marks):
                return True
            if addresses and _ADDRESS.search(body, start, end):
                return True
            yield
    return False
