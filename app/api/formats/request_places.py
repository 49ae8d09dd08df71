"""Finds the place in a request that llama-server refuses, which it does not report. Pure.

It reads the request only after a refusal. A request in another API's format, or one that cannot be parsed, has no
places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

_MEDIA = {"image": ("image_url",), "audio": ("input_audio",), "video": ("video_url", "input_video")}
_PARTS = frozenset(("text", "media_marker", *(kind for kinds in _MEDIA.values() for kind in kinds)))
_TEXTS = ("role", "name", "tool_call_id", "reasoning_content")
Found = Iterator[tuple[str, str]]


def place_of(message: str, request: bytes | None) -> tuple[str, str] | None:
    """Returns the place and the error there, or None if it cannot be found."""
    find = next((find for pattern, find in _FINDERS if pattern.search(message)), None)
    if find is None or request is None:
        return None
    try:
        body = msgspec.json.decode(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return next(find(body), None) if isinstance(body, dict) else None


def _messages(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    messages = body.get("messages")
    for i, message in enumerate(messages if isinstance(messages, list) else ()):
        yield f"messages[{i}]", message if isinstance(message, dict) else {}


def _calls(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for place, message in _messages(body):
        calls = message.get("tool_calls")
        if calls is not None and not isinstance(calls, list):
            yield f"{place}.tool_calls", None
        for i, call in enumerate(calls if isinstance(calls, list) else ()):
            yield f"{place}.tool_calls[{i}]", call


def _parts(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, message in _messages(body):
        content = message.get("content")
        for i, part in enumerate(content if isinstance(content, list) else ()):
            yield f"{place}.content[{i}]", part if isinstance(part, dict) else {}


def _arguments(body: dict[str, Any]) -> Found:
    for place, call in _calls(body):
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if not isinstance(arguments, str):
            continue
        try:
            msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            yield f"{place}.function.arguments", f"is not valid JSON: {error}"


def _role(body: dict[str, Any]) -> Found:
    return ((f"{place}.role", "is missing") for place, message in _messages(body) if "role" not in message)


def _content(body: dict[str, Any]) -> Found:
    for place, message in _messages(body):
        if message.get("role") != "assistant" and "content" not in message:
            yield f"{place}.content", "is missing"
        elif not isinstance(message.get("content"), str | list | None):
            yield f"{place}.content", "must be a string or a list of parts"
        elif message.get("role") == "assistant" and not {"content", "tool_calls"} & message.keys():
            yield place, "must have 'content' or 'tool_calls'"


def _part_type(body: dict[str, Any]) -> Found:
    for place, part in _parts(body):
        if part.get("type") not in _PARTS:
            yield f"{place}.type", "must be text, image_url, input_audio or input_video"


def _media(kind: str) -> Callable[[dict[str, Any]], Found]:
    def find(body: dict[str, Any]) -> Found:
        for place, part in _parts(body):
            if part.get("type") in _MEDIA[kind]:
                yield place, f"is {kind}, which this model does not take without a projector (`mmproj`)"

    return find


def _field_of_message(body: dict[str, Any]) -> Found:
    """Explains a message text of the wrong type, or a missing one."""
    for place, message in _messages(body):
        for name in _TEXTS:
            if name in message and not isinstance(message[name], str):
                yield f"{place}.{name}", "must be a string"
    for place, part in _parts(body):
        if part.get("type") == "text" and not isinstance(part.get("text"), str):
            yield f"{place}.text", "must be a string"
    for place, call in _calls(body):
        if not isinstance(call, dict):
            yield place, "must be an object" if place.endswith("]") else "must be a list"
            continue
        function = call.get("function")
        if not isinstance(function, dict):
            yield f"{place}.function", "must be an object"
        elif not isinstance(function.get("name"), str):
            yield f"{place}.function.name", "must be a string"
        if call.get("type") != "function":
            yield f"{place}.type", "must be 'function'"
        if not isinstance(call.get("id", ""), str):
            yield f"{place}.id", "must be a string"


def _suffix(body: dict[str, Any]) -> Found:
    """Explains an error in `suffix` of a completion, which the gateway has converted for /infill."""
    if "input_suffix" in body and "suffix" not in body:
        yield "suffix", "is not supported: this model has no infill tokens"


def _tool(body: dict[str, Any]) -> Found:
    tools = body.get("tools")
    if not isinstance(tools, list):
        yield "tools", "must be a list"
        return
    for i, tool in enumerate(tools):
        place = f"tools[{i}]"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(tool, dict):
            yield place, "must be an object"
        elif tool.get("type") != "function":
            yield f"{place}.type", "must be 'function'"
        elif not isinstance(function, dict):
            yield f"{place}.function", "must be an object"
        elif not isinstance(function.get("name"), str):
            yield f"{place}.function.name", "must be a string"
        elif not isinstance(function.get("description", ""), str):
            yield f"{place}.function.description", "must be a string"


_FINDERS: tuple[tuple[re.Pattern[str], Callable[[dict[str, Any]], Found]], ...] = (
    (re.compile(r"^Failed to parse tool call arguments as JSON"), _arguments),
    (re.compile(r"Missing 'role' in message"), _role),
    (re.compile(r"^Failed to parse messages:"), _field_of_message),
    (re.compile(r"^Failed to parse tools:"), _tool),
    (re.compile(r"'content'"), _content),
    (re.compile(r"^unsupported content\[\]\.type"), _part_type),
    (re.compile(r"^This model does not support infill"), _suffix),
    *((re.compile(rf"^{kind} input is not supported"), _media(kind)) for kind in _MEDIA),
)
