"""Maps places in a chat completion to places in the client's request. Pure.

The relay and the engine name `messages[1].content[0]` of a request that the client has never seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

_QUOTED = re.compile(r"'([a-z_]+(?:[.\[][^']*)?)'")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


class PlacedObject(dict[str, Any]):
    """An object of a translated request, with its place in the client's request."""

    __slots__ = ("place",)

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        super().__init__(values)
        self.place = place


def own_place(place: str, chat: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Returns the client's place. `names` are its own names of top-level fields. Others stay as they are."""
    holder: Any = chat
    found, at = "", 0
    while (step := _STEP.match(place, at)) is not None:
        name, index = step.groups()
        if isinstance(holder, dict) and name in holder:
            holder = holder[name]
        elif isinstance(holder, list) and index is not None and int(index) < len(holder):
            holder = holder[int(index)]
        else:
            break
        at = step.end()
        if isinstance(holder, PlacedObject):
            found = holder.place + place[at:]
    first, rest = re.match(r"([a-z_]*)(.*)", place, re.DOTALL).groups()  # type: ignore[union-attr]
    return found or names.get(first, first) + rest


def in_own_places(error: Any, chat: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Returns an error's fields, nested or not, with the client's places in `param` and `message`.

    Ollama's errors are their message alone.
    """
    if isinstance(error, str):
        return _QUOTED.sub(lambda quoted: f"'{_of_quoted(quoted[1], chat, names)}'", error)
    if not isinstance(error, dict):
        return error
    mapped = dict(error)
    if "message" in mapped:
        mapped["message"] = in_own_places(mapped["message"], chat, names)
    if isinstance(param := mapped.get("param"), str):
        mapped["param"] = own_place(param, chat, names)
    if "error" in mapped:
        mapped["error"] = in_own_places(mapped["error"], chat, names)
    return mapped


def _of_quoted(text: str, chat: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Maps quoted text if it begins with a field of the request."""
    first = re.split(r"[.\[]", text, maxsplit=1)[0]
    return own_place(text, chat, names) if first in chat else text


def refusal_in_own_places(body: bytes, chat: Mapping[str, Any], names: Mapping[str, str]) -> bytes:
    """Maps the places in a complete error response. An unreadable one stays unchanged."""
    try:
        error = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    return msgspec.json.encode(in_own_places(error, chat, names))
