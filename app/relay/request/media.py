"""Finds images, audio and files that a request names by URL, and replaces each URL with data. Pure.

llama-server (b11434) fetches `image_url` and `video_url`. Newer builds also fetch a URL in place of the data of
`input_audio` and `input_video`. Other servers fetch the rest. llama-server reads texts to rank (`query`, `documents`)
as text only; vLLM accepts parts there as in messages. A URL inside plain text is not fetched.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.errors import InvalidBodyError
from app.relay.request.json_decode import decoded, refuse_crowded
from app.relay.request.json_edit import edited

# Keys of a part: the value is the text itself, or an object that holds it.
_CARRIERS = (
    *("image_url", "audio_url", "video_url", "file_url", "input_image", "input_audio", "input_video"),
    *("image", "audio", "video", "file"),
)
_KEYS_THAT_CARRY = frozenset(_CARRIERS)
# Keys that hold more parts: of messages, tool results and tool output.
_NESTED = ("content", "output")


class _MessageParts(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw(b"null")


_MESSAGES = msgspec.json.Decoder(list[_MessageParts] | None)


@dataclass(frozen=True, slots=True)
class Media:
    """Downloaded media. `kind` is a media type such as `image/png`."""

    kind: str
    content: bytes


@dataclass(frozen=True, slots=True)
class _Place:
    """`holder[key]` is a URL. `source` marks Anthropic's objects, which have different keys for data and for a URL."""

    holder: dict[str, Any]
    key: str
    source: bool = False

    @property
    def url(self) -> str:
        url: str = self.holder[self.key]
        return url.strip()

    def fill(self, media: Media) -> None:
        data = b64encode(media.content).decode()
        if self.source:
            del self.holder[self.key]
            self.holder.update(type="base64", media_type=media.kind, data=data)
        else:
            # For every build, the `data` of audio is base64 without a prefix.
            self.holder[self.key] = data if self.key == "data" else f"data:{media.kind};base64,{data}"


class Remote:
    """The remote media of a request. `urls` has each URL once."""

    def __init__(self, fields: Mapping[str, Any], places: list[_Place]) -> None:
        self._fields = fields
        self._places = places
        self.urls = tuple(dict.fromkeys(place.url for place in places))

    def place(self, url: str) -> str | None:
        """Returns the place of a URL in the body."""
        waiting = [(value, name) for name, value in self._fields.items()]
        while waiting:
            node, place = waiting.pop()
            if isinstance(node, list):
                waiting += [(value, f"{place}[{i}]") for i, value in enumerate(node)]
            elif isinstance(node, dict):
                waiting += [(value, f"{place}.{key}") for key, value in node.items()]
            elif isinstance(node, str) and node[: len(url) + 64].strip() == url:
                return place
        return None

    def filled(self, body: bytes, media: Mapping[str, Media]) -> bytes:
        """Returns the body with data in place of URLs. Rewrites only the fields that held them."""
        for place in self._places:
            place.fill(media[place.url])
        return edited(body, {name: msgspec.json.encode(value) for name, value in self._fields.items()})


def find(messages: msgspec.Raw, **others: msgspec.Raw) -> Remote | None:
    """Returns the remote media in a body's `messages` and other fields (JSON each), or None if there are none.

    Raises InvalidBodyError if a field cannot be decoded. Such a request is not sent on.
    """
    fields = {name: decoded(value) for name, value in others.items() if _has_items(value)}
    if _has_parts(messages):
        fields["messages"] = decoded(messages)
    if not fields:
        return None
    places_of = {name: list(_places(value)) for name, value in fields.items()}
    places = [place for some in places_of.values() for place in some]
    return Remote({name: fields[name] for name, some in places_of.items() if some}, places) if places else None


def _has_parts(messages: msgspec.Raw) -> bool:
    """Tells whether a message is more than text. A value that is not a list of messages is always searched."""
    refuse_crowded(messages, (b"{",))
    try:
        return any(_first(m.content) not in b'"n' for m in _MESSAGES.decode(messages) or ())
    except msgspec.ValidationError:
        return True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError(f"The body is not valid JSON: {error}.") from None


def _has_items(value: msgspec.Raw) -> bool:
    """Tells whether a value is more than texts and numbers. Those need no search."""
    return _first(value) in (b"[", b"{") and b"{" in bytes(value)


def _first(value: msgspec.Raw) -> bytes:
    return bytes(memoryview(value)[:1])


def _places(document: Any) -> Iterator[_Place]:
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += reversed(node)
        elif isinstance(node, dict):
            yield from _own(node)
            waiting += [node[key] for key in _NESTED if key in node]


def _own(part: dict[str, Any]) -> Iterator[_Place]:
    if not _KEYS_THAT_CARRY.isdisjoint(part):
        yield from _carried(part)
    source = part.get("source")
    if isinstance(source, dict) and _is_address(source.get("url")):
        yield _Place(source, "url", source=True)


def _carried(part: dict[str, Any]) -> Iterator[_Place]:
    for key in _CARRIERS:
        value = part.get(key)
        if _is_address(value):
            yield _Place(part, key)
        elif isinstance(value, dict):
            yield from [_Place(value, inner) for inner, text in value.items() if _is_address(text)]


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and value[:64].lstrip().lower().startswith(("http:", "https:"))
