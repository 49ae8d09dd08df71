"""Converts Ollama's requests to llama-server's path and body."""

from __future__ import annotations

import binascii
import math
from base64 import b64decode
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from app.api.translated.places import PlacedObject
from app.errors import InvalidBodyError, ModelRequiredError
from app.relay.request.json_decode import decoded
from app.units import DURATION_FORMS, seconds_of

# Ollama's `options` -> llama-server's fields. The entry sets load options (num_ctx, num_gpu).
_OPTIONS = {
    "num_predict": "max_tokens",
    "num_keep": "n_keep",
    "repeat_last_n": "repeat_last_n",
    "repeat_penalty": "repeat_penalty",
    **{
        name: name
        for name in (
            *("temperature", "top_k", "top_p", "min_p", "typical_p", "seed", "stop"),
            *("presence_penalty", "frequency_penalty", "mirostat", "mirostat_tau", "mirostat_eta"),
        )
    },
}
# Fields of llama-server's requests -> Ollama's, for errors
OWN_NAMES = {
    **{name: f"options.{option}" for option, name in _OPTIONS.items()},
    "n_predict": "options.num_predict",
    "response_format": "format",
    "json_schema": "format",
    "input_prefix": "prompt",
    "input_suffix": "suffix",
    "chat_template_kwargs": "think",
}
# The first letters of base64 identify an image's format.
_IMAGES = {"iVBORw0K": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}


# Units of `keep_alive`
FOR_GOOD = -1.0


@dataclass(frozen=True, slots=True)
class OllamaRequest:
    """A converted request, and the format of its answer."""

    # One of chat, generate, embed, embeddings. `load` is for an empty request
    kind: str
    model: str
    stream: bool
    target: str
    body: dict[str, Any]
    loading: bool = False
    # Seconds that the model stays loaded after the answer, or FOR_GOOD, or None if not set
    keep_alive: float | None = None

    @property
    def unloading(self) -> bool:
        """True if the request only unloads the model."""
        return self.loading and self.keep_alive == 0


def translate(path: str, raw: bytes) -> OllamaRequest:
    """Converts a request. Raises InvalidBodyError with a message for the client."""
    fields = _object(raw)
    return replace(_translated(path, fields), keep_alive=_keep_alive(fields.get("keep_alive")))


def _translated(path: str, fields: dict[str, Any]) -> OllamaRequest:
    kind = path.rsplit("/", 1)[-1]
    model = _named(fields)
    named: dict[str, Any] = {"model": model} if model else {}
    if kind in ("embed", "embeddings"):
        return _embed(kind, model, named, fields)
    stream = fields.get("stream")
    if stream not in (None, True, False):
        raise InvalidBodyError("'stream' must be true or false.")
    stream = stream is not False
    messages = _messages(fields) if kind == "chat" else None
    for name in ("prompt", "system", "suffix") if kind == "generate" else ():
        if not isinstance(fields.get(name), str | None):
            raise InvalidBodyError(f"'{name}' must be a string.", param=name)
    if not messages and not fields.get("prompt"):
        # A request without content loads the model: the engine starts to tokenize an empty text.
        return OllamaRequest(kind, model, stream, "/tokenize", named | {"content": ""}, loading=True)
    body = named | {"stream": stream} | _sampling(fields)
    if stream:
        body["stream_options"] = {"include_usage": True}
    if kind == "generate" and fields.get("suffix"):
        body |= {"input_prefix": fields["prompt"], "input_suffix": fields["suffix"]}
        body["n_predict"] = body.pop("max_tokens", -1)
        return OllamaRequest(kind, model, stream, "/infill", body)
    if kind == "generate" and fields.get("raw"):
        return OllamaRequest(
            kind, model, stream, "/v1/completions", body | {"prompt": fields["prompt"]} | _format(fields)
        )
    body["messages"] = messages or _prompt(fields)
    if fields.get("tools"):
        body["tools"] = fields["tools"]
    return OllamaRequest(kind, model, stream, "/v1/chat/completions", body | _format(fields) | _thinking(fields))


def model_of(raw: bytes) -> str:
    """Returns the name in a short request. Raises InvalidBodyError or ModelRequiredError."""
    if not (name := _named(_object(raw))):
        raise ModelRequiredError("'model' is missing.")
    return name


def _named(fields: dict[str, Any]) -> str:
    name = fields.get("model") or fields.get("name") or ""
    if not isinstance(name, str):
        raise InvalidBodyError("'model' must be a string.")
    return name


def _object(raw: bytes) -> dict[str, Any]:
    document = decoded(raw)
    if not isinstance(document, dict):
        raise InvalidBodyError("The body must be a JSON object.")
    return document


def _keep_alive(value: Any) -> float | None:
    """Reads seconds, or a duration such as `5m` or `1h30m`. A negative value means for ever."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            text = value.strip()
            seconds = seconds_of(text.removeprefix("-"))
            seconds = FOR_GOOD if text.startswith("-") and seconds else seconds
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        else:
            raise ValueError
        if math.isnan(seconds):
            raise ValueError
    except (ValueError, OverflowError):
        words = f"'keep_alive' must be {DURATION_FORMS}; 0 unloads after the answer, -1 never unloads."
        raise InvalidBodyError(words, param="keep_alive") from None
    return FOR_GOOD if seconds < 0 else seconds


def _embed(kind: str, model: str, named: dict[str, Any], fields: dict[str, Any]) -> OllamaRequest:
    texts = fields.get("input" if kind == "embed" else "prompt")
    if not isinstance(texts, str | list):
        raise InvalidBodyError(f"'{'input' if kind == 'embed' else 'prompt'}' must be text or a list of texts.")
    body = named | {"input": texts, "encoding_format": "float"}
    if fields.get("dimensions") is not None:
        body["dimensions"] = fields["dimensions"]
    return OllamaRequest(kind, model, False, "/v1/embeddings", body)


def _sampling(fields: dict[str, Any]) -> dict[str, Any]:
    options = fields.get("options") or {}
    if not isinstance(options, dict):
        raise InvalidBodyError("'options' must be an object.")
    return {_OPTIONS[name]: value for name, value in options.items() if name in _OPTIONS and value is not None}


def _format(fields: dict[str, Any]) -> dict[str, Any]:
    output_format = fields.get("format")
    if not output_format:
        return {}
    if output_format == "json":
        return {"response_format": {"type": "json_object"}}
    if not isinstance(output_format, dict):
        raise InvalidBodyError("'format' must be \"json\" or a JSON schema.")
    named = {"name": "format", "schema": PlacedObject(output_format, "format")}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _thinking(fields: dict[str, Any]) -> dict[str, Any]:
    think = fields.get("think")
    if think is None:
        return {}
    if isinstance(think, bool):
        return {"chat_template_kwargs": {"enable_thinking": think}}
    if think not in ("low", "medium", "high"):
        raise InvalidBodyError("'think' must be true, false, low, medium or high.")
    return {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": think}}


def _prompt(fields: dict[str, Any]) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": fields["system"]}] if fields.get("system") else []
    return [*system, {"role": "user", "content": _content(fields.get("prompt"), fields.get("images"), "images")}]


def _messages(fields: dict[str, Any]) -> list[dict[str, Any]]:
    messages = fields.get("messages") or []
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise InvalidBodyError("'messages' must be a list of objects.")
    translated: list[dict[str, Any]] = []
    # Ollama's calls may have no ids. A result belongs to the oldest call of its name without one.
    open_calls = _OpenCalls()
    for number, message in enumerate(messages):
        role, place = message.get("role"), f"messages[{number}]"
        content = _content(message.get("content") or "", message.get("images"), f"{place}.images")
        entry = PlacedObject({"role": role, "content": content}, place)
        if message.get("thinking"):
            entry["reasoning_content"] = message["thinking"]
        if message.get("tool_calls"):
            if not isinstance(message["tool_calls"], list):
                raise InvalidBodyError("'tool_calls' must be a list.")
            entry["tool_calls"] = [_call(call, len(open_calls) + i) for i, call in enumerate(message["tool_calls"])]
            for call in entry["tool_calls"]:
                open_calls.add(call["function"]["name"], call["id"])
        if role == "tool":
            entry["tool_call_id"] = message.get("tool_call_id") or open_calls.answered(message.get("tool_name"))
        translated.append(entry)
    return translated


def _call(call: Any, number: int) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidBodyError("'tool_calls' must be a list of objects with a function and its name.")
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    named = {"name": function["name"], "arguments": text}
    return {"id": call.get("id") or f"call_{number}", "type": "function", "function": named}


class _OpenCalls:
    """Calls without a result, oldest first."""

    def __init__(self) -> None:
        self._added = 0
        # Ids by number, and the numbers of each name. A call that was taken by its age stays in the second
        self._ids: OrderedDict[int, str] = OrderedDict()
        self._numbers: dict[str, deque[int]] = defaultdict(deque)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, name: str, call_id: str) -> None:
        self._ids[self._added] = call_id
        self._numbers[name].append(self._added)
        self._added += 1

    def answered(self, name: Any) -> str:
        """Removes the oldest call of `name`, or the oldest of all for None, and returns its id."""
        if name is None:
            return self._ids.popitem(last=False)[1] if self._ids else "call_0"
        numbers = self._numbers.get(name) if isinstance(name, str) else None
        while numbers:
            if (call_id := self._ids.pop(numbers.popleft(), None)) is not None:
                return call_id
        return "call_0"


def _content(text: Any, images: Any, place: str) -> Any:
    """Returns the text, or parts with the images of the field at `place`. Raises InvalidBodyError."""
    if not images:
        return text
    if not isinstance(images, list):
        raise InvalidBodyError(f"'{place}' must be a list of base64 texts.", param=place)
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    return [*parts, *(_image(image, f"{place}[{i}]") for i, image in enumerate(images))]


def _image(image: Any, place: str) -> dict[str, Any]:
    try:
        # A data URL holds the same base64
        data = image.partition(";base64,")[2] if image.startswith("data:") else image
        letters = "".join(data.splitlines()).rstrip("=")
        readable = bool(b64decode(letters + "=" * (-len(letters) % 4), validate=True))
    except (AttributeError, binascii.Error, ValueError):
        readable = False
    if not readable:
        raise InvalidBodyError(f"'{place}' must be an image as base64 text.", param=place)
    kind = next((kind for head, kind in _IMAGES.items() if data.startswith(head)), "png")
    return PlacedObject({"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}, place)
