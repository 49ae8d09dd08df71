"""Finds the place in a request that llama-server refuses, which it does not report. Pure.

It reads the request only after a refusal. A request in another API's format, or one that cannot be parsed, has no
places.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

_MEDIA = {"image": ("image_url",), "audio": ("input_audio",), "video": ("video_url", "input_video")}
_PARTS = frozenset(("text", "media_marker", *(kind for kinds in _MEDIA.values() for kind in kinds)))
_ALL_MEDIA = frozenset(kind for kinds in _MEDIA.values() for kind in kinds)
# PNG, JPEG, GIF, BMP; MP3 in two forms, FLAC
_HEADS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"ID3", b"\xff\xfb", b"fLaC")
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


def _functions(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The called functions, in their form of 2023 too."""
    for place, message in _messages(body):
        yield f"{place}.function_call", message.get("function_call")
    for place, call in _calls(body):
        yield f"{place}.function", call.get("function") if isinstance(call, dict) else None


def _arguments(body: dict[str, Any]) -> Found:
    for place, function in _functions(body):
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if not isinstance(arguments, str) or not arguments.strip():
            continue
        try:
            msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            yield f"{place}.arguments", f"is not valid JSON: {error}"


def _role(body: dict[str, Any]) -> Found:
    for place, message in _messages(body):
        if message.get("role") is None:
            yield f"{place}.role", "is missing"


def _content(body: dict[str, Any]) -> Found:
    for i, message in enumerate(body["messages"]):
        if not isinstance(message, dict):
            yield f"messages[{i}]", "must be an object"
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


def _unreadable(body: dict[str, Any]) -> Found:
    """The part that is no image or audio; if all look well, the only one."""
    media = [(place, part) for place, part in _parts(body) if part.get("type") in _ALL_MEDIA]
    for place, part in media:
        if not _looks_readable(part):
            yield place, "is no image or audio that can be read"
    if len(media) == 1:
        yield media[0][0], "is no image or audio that can be read"


def _looks_readable(part: dict[str, Any]) -> bool:
    holder = part.get(part["type"])
    source = (holder.get("url") or holder.get("data")) if isinstance(holder, dict) else holder
    if not isinstance(source, str) or not source:
        return False
    if source.startswith(("http://", "https://", "file://")):
        return True
    letters = source.partition(";base64,")[2] if source.startswith("data:") else source
    try:
        data = b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except ValueError:
        return False
    return data.startswith(_HEADS) or data[8:12] in (b"WEBP", b"WAVE")


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
    if "suffix" in body or "input_suffix" in body:
        yield "suffix", "is not supported: this model has no infill tokens"


def _prompt(body: dict[str, Any]) -> Found:
    """Every kind of prompt is one to llama-server."""
    name = next((name for name in ("prompt", "input", "content") if name in body), None)
    if name is not None:
        yield name, "must be a string, a list of tokens, or a list of these that is not empty"


def _tokens_of_prompt(body: dict[str, Any]) -> Found:
    name = next((name for name in ("prompt", "input", "content") if name in body), None)
    if name is not None:
        yield name, "has a number that is no token of this model"


def _one_text(body: dict[str, Any]) -> Found:
    if "prompt" in body and not isinstance(body["prompt"], str):
        yield "prompt", "must be one text, since this model has a projector (/completion takes media)"


def _empty(body: dict[str, Any]) -> Found:
    name = next((name for name in ("input", "content", "prompt") if name in body), None)
    if name is not None:
        yield name, "has an empty part"


def _grammar(body: dict[str, Any]) -> Found:
    """Templates with tools, and schemas, become grammars themselves."""
    if "grammar" in body:
        other = "tools" if body.get("tools") else "a schema"
        yield "grammar", f"cannot be combined with {other}; leave one of them out"


def _tool(body: dict[str, Any]) -> Found:
    if isinstance(body.get("functions"), list) and not body.get("tools"):
        for i, function in enumerate(body["functions"]):
            if not isinstance(function.get("name"), str):
                yield f"functions[{i}].name", "must be a string"
            elif not isinstance(function.get("description", ""), str):
                yield f"functions[{i}].description", "must be a string"
        return
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


def _unanswered(body: dict[str, Any]) -> Found:
    places = [place for place, call in _calls(body) if call is not None]
    messages = list(_messages(body))
    if messages and isinstance(messages[-1][1].get("function_call"), dict):
        yield f"{messages[-1][0]}.function_call", "has no result: a message with it has to follow"
    elif places:
        yield places[-1], "has no result: a message with it has to follow"


def _two_answers(body: dict[str, Any]) -> Found:
    if messages := list(_messages(body)):
        yield messages[-1][0], "follows another message of the assistant: join the two"


def _of_the_server(body: dict[str, Any]) -> Found:
    for place, part in _parts(body):
        holder = part.get(str(part.get("type")))
        url = holder.get("url") if isinstance(holder, dict) else holder
        if isinstance(url, str) and url.startswith("file:"):
            yield place, "names a file that this model's server may not read: send the data"


def _tokens(body: dict[str, Any]) -> Found:
    """Of /detokenize, which takes numbers within the vocabulary."""
    tokens = body.get("tokens")
    if not isinstance(tokens, list):
        yield "tokens", "must be a list of numbers"
    elif numbers := [token for token in tokens if isinstance(token, int)]:
        yield "tokens", f"has {max(numbers)}, which is beyond the vocabulary of this model"


def _fixed(place: str, words: str) -> Callable[[dict[str, Any]], Found]:
    return lambda body: iter(((place, words),))


_FINDERS: tuple[tuple[re.Pattern[str], Callable[[dict[str, Any]], Found]], ...] = (
    (re.compile(r"^Failed to parse tool call arguments as JSON"), _arguments),
    (re.compile(r"Missing 'role' in message"), _role),
    (re.compile(r"^Failed to parse messages:"), _field_of_message),
    (re.compile(r"^Failed to parse tools:"), _tool),
    (re.compile(r"^Expected 'messages' to be"), _fixed("messages", "must be a list of messages")),
    (re.compile(r"'content'"), _content),
    (re.compile(r"^unsupported content\[\]\.type"), _part_type),
    (re.compile(r"^This model does not support infill"), _suffix),
    (re.compile(r"^Cannot continue an assistant message that contains tool calls"), _unanswered),
    (re.compile(r"^Cannot have 2 or more assistant messages"), _two_answers),
    (re.compile(r"^file (?:path is not allowed|does not exist)|^file:// URLs"), _of_the_server),
    (
        re.compile(r"^logprobs is not supported with tools"),
        _fixed("logprobs", "is not supported with tools in a stream"),
    ),
    (
        re.compile(r"^Invalid tool_choice: "),
        _fixed("tool_choice", "must be auto, none or required, or an object that names a tool"),
    ),
    (re.compile(r"^vector::_M_range_check|^\[json[^]]*\] type must be array"), _tokens),
    (re.compile(r"^Unknown reasoning format"), _fixed("reasoning_format", "must be auto, none or deepseek")),
    (re.compile(r"^top_logprobs requires"), _fixed("top_logprobs", "needs 'logprobs' to be true")),
    (re.compile(r"^\"input\" or \"content\""), _fixed("input", "is missing")),
    (re.compile(r"^Multimodal data provided"), _fixed("prompt", "has media, and this model takes none")),
    (
        re.compile(r"^Cannot set both add_generation_prompt and continue_final_message"),
        _fixed("continue_final_message", "cannot be true beside add_generation_prompt"),
    ),
    (re.compile(r"^[\"']prompt[\"'] "), _prompt),
    (re.compile(r"^\[json[^]]*\] type must be string, but is (?:array|object)"), _one_text),
    (re.compile(r"^Prompt contains invalid tokens"), _tokens_of_prompt),
    (re.compile(r"^Input content cannot be empty"), _empty),
    (re.compile(r"^Cannot (?:use|specify) (?:both json_schema and|custom)? ?grammar"), _grammar),
    (
        re.compile(r"^(?:Failed to (?:load|download) image|Invalid (?:uri-encoded )?base64|uri must be base64)"),
        _unreadable,
    ),
    *((re.compile(rf"^{kind} input is not supported"), _media(kind)) for kind in _MEDIA),
)
