"""Corrects llama-server's errors whose status or text would mislead a client. Pure.

Source: every kind of bad request, sent to b11434. An exception in parsing a body gives a 500. A feature that the engine
was not started for gives a 501. SDKs retry both, although neither can succeed.
"""

from __future__ import annotations

import re

from app.api.formats.request_places import place_of
from app.api.formats.schema_places import schema_place, without_parser

# Errors with status 500 for bad requests, by their beginnings (`throw std::runtime_error`).
_BAD_REQUEST = (
    "Failed to parse messages:",
    "Failed to parse tool call arguments as JSON:",
    "Failed to parse tools:",
    "Missing 'role' in message:",
    "'messages' is required",
    "image input is not supported",
    "audio input is not supported",
    "video input is not supported",
    "Failed to load image or audio file",
    "Failed to download image",
    "Invalid base64 value",
    "Multimodal data provided,",
    "Unsupported param: ",
    "for mtmd, input prompt must be a string",
    "Failed to tokenize prompt",
    "Cannot use both json_schema and grammar",
    "Cannot specify grammar with tools",
    "Unknown reasoning format:",
    "Unable to generate parser for this template",
    "[json.exception.",
    # A token number beyond the vocabulary, to /detokenize
    "vector::_M_range_check",
)
# A template that raises an exception for a request's messages. Builds of 2025 use the second text.
_TEMPLATE = re.compile(r"While executing \w+ at line \d+, column \d+| at row \d+, column \d+:")
# For an attached server, its administrator sets these as flags.
_WHERE = "in the entry of tandem.yaml (or where its llama-server is started)"
# If llama-server names a flag, the message names the entry that lacks it. Groups fill the text.
_IN_OUR_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(tools|tool_choice) param requires --jinja"),
        "This model is served with jinja: false. Leave '{0}' out, or set jinja: true in its entry of tandem.yaml "
        "(--jinja where its llama-server is started).",
    ),
    (
        re.compile(r"input \((\d+) tokens\) is too large to process\..*current batch size: (\d+)"),
        "The input has {0} tokens, and this model takes at most {1}. Send less, or raise --batch-size and "
        f"--ubatch-size {_WHERE}.",
    ),
    (
        re.compile(r"This server does not support embeddings"),
        "This model does not serve embeddings. Use a model with the capability `embedding` in /v1/models, or put "
        f"--embedding and --pooling mean (or cls, last) into args {_WHERE}.",
    ),
    (
        re.compile(r"This server does not support reranking"),
        "This model does not serve reranking. Use a model with the capability `rerank` in /v1/models, or put "
        f"--reranking into args {_WHERE}.",
    ),
    (
        re.compile(r"This server does not support (?:chat )?completions"),
        "This model serves only embeddings. Use a model with the capability `completion` in /v1/models.",
    ),
    (
        re.compile(r"This server does not support slots action"),
        "This model's slots cannot be saved, restored or erased: put --slot-save-path and a folder into args "
        f"{_WHERE}.",
    ),
    (
        re.compile(r"This server does not support ([\w ]+)\. Start it with `(--[\w-]+)`"),
        f"This model is served without {{0}}. Add {{1}} to args {_WHERE}.",
    ),
    (
        re.compile(r"The current model does not support audio input"),
        f"This model does not take audio. Set an audio projector as `mmproj` {_WHERE}.",
    ),
    (
        re.compile(r"Infill is not supported by this model"),
        "This model does not support infill: its vocabulary has no infill tokens.",
    ),
)


def bad_request(message: str) -> str | None:
    """Returns the message for a request that can never succeed, or None if the error may be temporary."""
    for pattern, words in _IN_OUR_WORDS:
        if match := pattern.match(message):
            return words.format(*match.groups())
    return message if message.startswith(_BAD_REQUEST) or _TEMPLATE.search(message) else None


# Its JSON library adds its own name and quotes the last bytes read.
_LIBRARY = re.compile(r"\[json\.exception\.\w+\.\d+\] ")
_LAST_READ, _LAST_READ_ENDS = "; last read: '", re.compile(r"'(?=; expected|$)")
_FIELD = re.compile(r"Field '([\w.]+)': (.*)", re.DOTALL)
_KIND = re.compile(r"(?:parse error.*?: )?type must be (\w+), but is (\w+)$")
_RANGE = re.compile(r"Value must be between (\S+) <= value <= (\S+), but got (\S+)$")
_MISSING = re.compile(r"key '([\w.]+)' not found$")
_REQUIRED = re.compile(r"[\"']([\w.]+)[\"'] (?:is required|must not be empty)|Expected '([\w.]+)' to be")
_LEAVE_OUT = re.compile(r"This model is served with \S+ \S+ [Ll]eave '(\w+)' out")
# It repeats the whole of the tools after the error in one of them
_DUMP = re.compile(r"; tools = .*", re.DOTALL)
# OpenAI's codes, by error
_WRONG_KIND, _OUT_OF_RANGE, _LEFT_OUT = "invalid_type", "invalid_value", "missing_required_parameter"


def explained(message: str, request: bytes | None) -> tuple[str, str | None, str | None]:
    """Returns a bad request's message without library names, its place in the request, and OpenAI's code or None."""
    if (place_and_words := place_of(message, request) or schema_place(message, request)) is not None:
        place, words = place_and_words
        return f"'{place}' {words}.", place, _LEFT_OUT if words == "is missing" else _OUT_OF_RANGE
    text = _DUMP.sub("", _LIBRARY.sub("", without_parser(message)))
    if text != message:
        text = _without_last_read(text)
    if match := _FIELD.match(text):
        return _of_field(*match.groups())
    if match := _MISSING.match(text):
        return f"'{match[1]}' is missing.", match[1], _LEFT_OUT
    if match := _LEAVE_OUT.match(text):
        return text, match[1], None
    required = _REQUIRED.match(text)
    return text, required and (required[1] or required[2]), _LEFT_OUT if required and required[1] else None


def _without_last_read(text: str) -> str:
    start = text.find(_LAST_READ)
    end = _LAST_READ_ENDS.search(text, start + len(_LAST_READ)) if start >= 0 else None
    return text if end is None else text[:start] + text[end.end() :]


def _of_field(name: str, text: str) -> tuple[str, str | None, str | None]:
    if match := _KIND.match(text):
        return f"'{name}' must be of type {match[1]}, not {match[2]}.", name, _WRONG_KIND
    if match := _RANGE.match(text):
        least, most, got = match.groups()
        limits = f"from {least} to {most}" if least != most else most
        slots = ", as this model has no more slots" if name == "n" else ""
        return f"'{name}' must be {limits}{slots}; {got} is not.", name, _OUT_OF_RANGE
    return f"'{name}': {text}", name, _OUT_OF_RANGE
