"""Converts a Responses request to a chat completion, and keeps what its answer needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.api.responses.items import Conversation
from app.api.responses.tools import RequestTools, choose
from app.api.translated.fields import Fields, listed
from app.api.translated.places import PlacedObject
from app.api.translated.prefill import begun_answer, go_on

_REFUSED = {
    "conversation": "the gateway stores no conversations; use previous_response_id, or send the whole input",
    "background": "the gateway has no background responses",
    "background_options": "the gateway has no background responses",
    "context_management": "the gateway does not compact conversations",
    "moderation": "the gateway does not moderate",
    "image": "the gateway makes no images",
    "access_programs": "the gateway has no access programs",
}
_ABOUT_CLIENT = (
    *("metadata", "user", "safety_identifier", "service_tier"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "max_tool_calls"),
)
_TRANSLATED = (
    *("model", "input", "instructions", "stream", "stream_options", "store", "previous_response_id", "include"),
    *("max_output_tokens", "temperature", "top_p", "top_logprobs", "parallel_tool_calls", "tools", "tool_choice"),
    *("text", "reasoning", "truncation"),
)
# Fields of chat completions -> those of this API
_NOT_HERE = {
    "response_format": "text.format",
    "logprobs": "top_logprobs",
    "functions": "tools",
    "function_call": "tool_choice",
}
_READ_HERE = frozenset((*_TRANSLATED, *_ABOUT_CLIENT, *_REFUSED, *_NOT_HERE, "n", "messages", "prompt"))
THOUGHTS, PROBABILITIES = "reasoning.encrypted_content", "message.output_text.logprobs"
_INCLUDABLE = (
    *(THOUGHTS, PROBABILITIES, "message.input_image.image_url", "file_search_call.results"),
    *("web_search_call.results", "web_search_call.action.sources", "code_interpreter_call.outputs"),
    "computer_call_output.output.image_url",
)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TEMPLATE_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}
_FORMATS = ("text", "json_object", "json_schema")


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """A converted request: `body` is the chat completion, `echoed` are fields that every response repeats."""

    body: dict[str, Any]
    echoed: dict[str, Any]
    tools: RequestTools
    # The items of this request alone, as they were sent
    items: list[dict[str, Any]]
    stream: bool = False
    store: bool = True
    # Whether thoughts are sent as a summary, and whether also in packed form
    summarizes: bool = False
    packs_thoughts: bool = False
    # `text.format`, if it requests JSON
    json_field: str = ""
    # The beginning of the answer, if the input ends with a message of the assistant
    prefill: str = ""


def translate(
    fields: Fields, *, ours: bool, earlier: Sequence[Mapping[str, Any]] = (), kept: Mapping[str, Any] | None = None
) -> ResponsesRequest:
    """Converts a request.

    `earlier` are the items of the continued conversation, `kept` those that the request may name by id. `ours`: an
    engine of llama-server's. Raises InvalidBodyError.
    """
    _refuse(fields)
    items = input_items(fields)
    body = fields.others(_READ_HERE)
    body["messages"] = _messages(fields, items, earlier, kept or {})
    stream = _sample(fields, body)
    include = _include(fields, body)
    summarizes = _think(fields, body)
    tools = RequestTools()
    for tool in fields.objects("tools"):
        tools.add(tool)
    choose(fields, tools, body)
    if (parallel := fields.flag("parallel_tool_calls")) is not None and tools.chat_tools:
        body["parallel_tool_calls"] = parallel
    json_field = _format(fields, body)
    prefill = begun_answer(body["messages"])
    if prefill and ours:
        go_on(body, thinks=fields.get("reasoning") is not None)
    store = fields.flag("store")
    return ResponsesRequest(
        body,
        echoed(fields),
        tools,
        [item.values for item in items],
        stream,
        store is not False,
        summarizes,
        THOUGHTS in include,
        json_field,
        prefill,
    )


def _refuse(fields: Fields) -> None:
    fields.flag("background")
    fields.refuse(_REFUSED)
    if not isinstance(fields.get("prompt"), str):
        # A text is the prompt of completions, sent to several endpoints at once
        fields.refuse({"prompt": "the gateway stores no prompts"})
    for name, right in _NOT_HERE.items():
        fields.refuse({name: f"use {right}, the field of this API"})
    fields.integer("n", 1, 1)
    fields.text("service_tier")
    fields.text("prompt_cache_retention")
    if (options := fields.object("stream_options")) is not None:
        options.flag("include_obfuscation")
    if fields.one_of("truncation", ("auto", "disabled")) == "auto":
        raise fields.wrong("truncation", "is not supported: the gateway does not truncate input; use disabled")


def _sample(fields: Fields, body: dict[str, Any]) -> bool:
    """Sets limits and sampling. Tells whether the request is for a stream."""
    stream = bool(fields.flag("stream"))
    body["stream"] = stream
    if stream:
        body["stream_options"] = {"include_usage": True}
    sampling = {
        "max_tokens": fields.integer("max_output_tokens", 1),
        "temperature": fields.number("temperature", 0, 2),
        "top_p": fields.number("top_p", 0, 1),
    }
    body |= {name: value for name, value in sampling.items() if value is not None}
    return stream


def input_items(fields: Fields) -> list[Fields]:
    """Returns the input's items; a text is one message. Raises InvalidBodyError without input."""
    value = fields.get("input")
    if isinstance(value, str):
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}
        return [Fields(message, "input")]
    if value is None and (fields.get("previous_response_id") or fields.get("instructions")):
        return []
    if value is None:
        raise fields.wrong("input", "is missing; it must be text or a list of items")
    if not isinstance(value, list):
        raise fields.wrong("input", "must be text or a list of items")
    if not value and not fields.get("previous_response_id"):
        raise fields.wrong("input", "is empty; it needs at least one item")
    return fields.objects("input")


def _messages(
    fields: Fields, items: list[Fields], earlier: Sequence[Mapping[str, Any]], kept: Mapping[str, Any]
) -> list[dict[str, Any]]:
    conversation = Conversation()
    for kept_item in earlier:
        conversation.add(Fields(kept_item, "previous_response_id"))
    for item in items:
        conversation.add(_referred(item, kept))
    messages = conversation.finish()
    # Templates take one system message, at the beginning.
    first = next((i for i, message in enumerate(messages) if not _is_system_text(message)), len(messages))
    leading = [fields.text("instructions") or "", *(message["content"] for message in messages[:first])]
    system = "\n\n".join(filter(None, leading))
    return [*([{"role": "system", "content": system}] if system else []), *messages[first:]]


def _is_system_text(message: Mapping[str, Any]) -> bool:
    return message["role"] == "system" and isinstance(message["content"], str)


def references(items: list[Fields]) -> list[str]:
    """Returns the ids of items that are named instead of sent."""
    return [item.needed_text("id") for item in items if item.get("type") == "item_reference"]


def _referred(item: Fields, kept: Mapping[str, Any]) -> Fields:
    if item.get("type") != "item_reference":
        return item
    if (found := kept.get(item.needed_text("id"))) is None:
        raise item.wrong("id", "names an item that is not stored; send the item itself")
    return Fields(found, item.place)


def _include(fields: Fields, body: dict[str, Any]) -> list[str]:
    include = fields.texts("include")
    for i, name in enumerate(include):
        if name not in _INCLUDABLE:
            raise fields.wrong(f"include[{i}]", f"must be {listed(_INCLUDABLE)}")
    most = fields.integer("top_logprobs", 0, 20)
    if PROBABILITIES in include or most:
        body["logprobs"] = True
        body["top_logprobs"] = most or 0
    return include


def _think(fields: Fields, body: dict[str, Any]) -> bool:
    """Sets the fields that templates read. Tells whether to send thoughts as a summary."""
    reasoning = fields.object("reasoning")
    if reasoning is None:
        return False
    if reasoning.text("mode") not in (None, "standard"):
        raise reasoning.wrong("mode", "is not supported: models here think in one way; use standard")
    if reasoning.one_of("context", ("auto", "current_turn", "all_turns")) == "current_turn":
        _forget_earlier_thoughts(body["messages"])
    if (effort := reasoning.one_of("effort", _EFFORTS)) is not None:
        kwargs: dict[str, Any] = {"enable_thinking": effort != "none"}
        if effort != "none":
            kwargs["reasoning_effort"] = _TEMPLATE_EFFORTS.get(effort, effort)
        given = fields.object("chat_template_kwargs")
        body["chat_template_kwargs"] = kwargs | (given.values if given is not None else {})
    styles = ("auto", "concise", "detailed")
    return bool(reasoning.one_of("summary", styles) or reasoning.one_of("generate_summary", styles))


def _forget_earlier_thoughts(messages: list[dict[str, Any]]) -> None:
    """Drops the thoughts before the last message of the user."""
    turn = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=0)
    for message in messages[:turn]:
        message.pop("reasoning_content", None)


def _format(fields: Fields, body: dict[str, Any]) -> str:
    """Returns the name of the field that requests JSON, or an empty text."""
    text = fields.object("text")
    if text is None:
        return ""
    if text.one_of("verbosity", ("low", "medium", "high")) not in (None, "medium"):
        raise text.wrong("verbosity", "is not supported: put it into the instructions")
    wanted = text.object("format")
    if wanted is None:
        return ""
    kind = wanted.needed_one_of("type", _FORMATS)
    if kind == "text":
        return ""
    body["response_format"] = PlacedObject({"type": kind}, wanted.place)
    if kind == "json_schema":
        schema = wanted.needed_object("schema", "a JSON schema")
        named = PlacedObject({"name": wanted.text("name") or "output"}, wanted.place)
        named["schema"] = PlacedObject(schema.values, schema.place)
        named |= {key: value for key in ("strict", "description") if (value := wanted.get(key)) is not None}
        body["response_format"]["json_schema"] = named
    return "text.format"


def echoed(fields: Fields) -> dict[str, Any]:
    """Returns the request's fields that a response repeats, with OpenAI's defaults for missing ones."""
    text, reasoning = fields.object("text"), fields.object("reasoning")
    given = fields.values
    wanted = {"format": {"type": "text"}} | _given(text.values if text else {})
    return {
        "background": False,
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "max_tool_calls": fields.integer("max_tool_calls", 1),
        "metadata": _metadata(fields),
        "parallel_tool_calls": given.get("parallel_tool_calls") is not False,
        "previous_response_id": fields.text("previous_response_id"),
        "prompt_cache_key": fields.text("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None} | _given(reasoning.values if reasoning else {}),
        "safety_identifier": fields.text("safety_identifier"),
        "service_tier": "default",
        "store": given.get("store") is not False,
        "temperature": given.get("temperature"),
        "text": wanted,
        "tool_choice": given.get("tool_choice") or "auto",
        "tools": [_shown_tool(tool) for tool in given.get("tools") or ()],
        "top_logprobs": given.get("top_logprobs") or 0,
        "top_p": given.get("top_p"),
        "truncation": "disabled",
        "user": fields.text("user"),
    }


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _metadata(fields: Fields) -> dict[str, Any]:
    metadata = fields.object("metadata")
    for name, value in metadata.values.items() if metadata is not None else ():
        if not isinstance(value, str):
            raise fields.wrong(f"metadata.{name}", "must be a string")
    return metadata.values if metadata is not None else {}


def _shown_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Returns a tool as OpenAI's types have it: both fields for a function, nothing nested."""
    if tool.get("type") != "function":
        return tool
    inner = tool.get("function")
    return {"type": "function", "strict": None, "parameters": None} | (inner if isinstance(inner, dict) else tool)
