"""Converts a Messages request to a chat completion, and keeps what its answer needs. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.api.messages.content import chat_messages, system_text
from app.api.translated.fields import Fields
from app.api.translated.places import PlacedObject
from app.api.translated.prefill import begun_answer, go_on
from app.api.translated.tools import encode_json, function_tool, only, refuse_other_callers

_REFUSED = {
    "container": "the gateway has no containers",
    "mcp_servers": "the gateway calls no MCP servers; call them from the client",
    "compaction": "the gateway does not compact conversations",
    "thread": "the gateway stores no threads",
    "fallbacks": "the gateway uses the requested model only",
    "fallback_credit_token": "the gateway uses the requested model only",
    "billing_policy": "the gateway does not bill",
    # Of other APIs
    **dict.fromkeys(("functions", "function_call"), "use tools and tool_choice, the fields of this API"),
    **dict.fromkeys(("logprobs", "top_logprobs"), "answers of this API have no log probabilities"),
}
# Fields about the client and its bill, without effect on the answer
_ABOUT_CLIENT = ("metadata", "cache_control", "diagnostics", "user_profile_id", "workspace_id", "betas")
_TRANSLATED = (
    *("model", "messages", "system", "max_tokens", "stream", "stop_sequences", "temperature", "top_p", "tools"),
    *("tool_choice", "thinking", "output_config", "output_format", "context_management"),
    *("service_tier", "speed", "inference_geo"),
)
# Fields that are converted here. All others pass to the engine, such as its own sampling
_READ_HERE = frozenset((*_TRANSLATED, *_ABOUT_CLIENT, *_REFUSED, "n", "stream_options", "input", "prompt"))
_THINKING = ("enabled", "disabled", "adaptive", "between_tools")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
# Templates have three.
_TEMPLATE_EFFORTS = {"xhigh": "high", "max": "high"}


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """A converted request: `body` is the chat completion, other fields are for the answer."""

    body: dict[str, Any]
    stream: bool = False
    max_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    # Whether thoughts are shown as text, or kept in their signature alone
    shows_thoughts: bool = True
    # The beginning of the answer, written by the client
    prefill: str = ""
    # The format that a complete answer must have
    json_only: bool = False
    tools: tuple[str, ...] = field(default=())


def translate(fields: Fields, *, ours: bool) -> MessagesRequest:
    """Converts a request. `ours`: an engine of llama-server's, which has more fields. Raises InvalidBodyError."""
    fields.refuse(_REFUSED)
    _refuse_other_service(fields)
    body = fields.others(_READ_HERE)
    body["messages"] = messages = _all_messages(fields)
    stream = bool(fields.flag("stream"))
    body["stream"] = stream
    if stream:
        body["stream_options"] = {"include_usage": True}
    max_tokens = fields.integer("max_tokens", 1)
    stops = fields.texts("stop_sequences")
    sampling = {
        "max_tokens": max_tokens,
        "temperature": fields.number("temperature", 0, 2),
        "top_p": fields.number("top_p", 0, 1),
        "stop": stops or None,
    }
    body |= {name: value for name, value in sampling.items() if value is not None}
    shows = _think(fields, body)
    output = _structured(fields, body)
    _tools(fields, body)
    prefill = begun_answer(messages)
    if ours:
        _ask_for_more(body, stream=stream, stops=bool(stops))
        if prefill:
            go_on(body, thinks=fields.get("thinking") is not None)
    names = tuple(tool["function"]["name"] for tool in body.get("tools", ()))
    return MessagesRequest(body, stream, max_tokens, tuple(stops), shows, prefill, output, names)


def _ask_for_more(body: dict[str, Any], *, stream: bool, stops: bool) -> None:
    """Requests facts that llama-server omits by default (b11434). Builds without these fields ignore them."""
    if stream:
        body["return_progress"] = True  # the prompt's tokens before the first one of the answer
    if stops:
        body["verbose"] = True  # the word that ended the answer


def _all_messages(fields: Fields) -> list[dict[str, Any]]:
    if fields.get("messages") is None:
        raise fields.wrong("messages", "is missing")
    if not fields.items("messages"):
        raise fields.wrong("messages", "is empty; it needs at least one message")
    messages = chat_messages(fields.objects("messages"), kept_thoughts(fields))
    system = system_text(fields, "system")
    if system:
        # Templates take one system message, at the beginning.
        if messages and messages[0]["role"] == "system":
            system = f"{system}\n\n{messages.pop(0)['content']}"
        messages.insert(0, {"role": "system", "content": system})
    return messages


def kept_thoughts(fields: Fields) -> int | None:
    """Returns the number of last turns that keep their thoughts, or None for all.

    Raises InvalidBodyError for other edits.
    """
    management = fields.object("context_management")
    for edit in management.objects("edits") if management is not None else ():
        if edit.text("type") != "clear_thinking_20251015":
            raise edit.wrong("type", "is not supported: only clear_thinking_20251015 is")
        if edit.get("keep") not in (None, "all", {"type": "all"}):
            keep = edit.object("keep") if edit.get("keep") is not None else None
            assert keep is not None
            keep.one_of("type", ("thinking_turns",))
            return keep.integer("value", 1)
        return None if edit.get("keep") is not None else 1
    return None


def _refuse_other_service(fields: Fields) -> None:
    """Refuses options that need Anthropic's own service."""
    fields.one_of("service_tier", ("auto", "standard_only"))
    if (metadata := fields.object("metadata")) is not None:
        metadata.text("user_id")
    fields.one_of("speed", ("standard",))
    fields.integer("n", 1, 1)
    if fields.text("inference_geo") not in (None, "global"):
        raise fields.wrong("inference_geo", "is not supported: the gateway does not choose a region")


def _think(fields: Fields, body: dict[str, Any]) -> bool:
    """Sets the fields that templates read. Tells whether to show thoughts."""
    thinking, output = fields.object("thinking"), fields.object("output_config")
    kwargs: dict[str, Any] = {}
    shows = True
    if thinking is not None:
        kind = thinking.needed_one_of("type", _THINKING)
        kwargs["enable_thinking"] = kind != "disabled"
        if (budget := thinking.integer("budget_tokens", 1)) is not None and kind == "enabled":
            body["thinking_budget_tokens"] = budget
        shows = thinking.one_of("display", ("summarized", "omitted")) != "omitted"
    if output is not None and (effort := output.one_of("effort", _EFFORTS)) is not None:
        kwargs["reasoning_effort"] = _TEMPLATE_EFFORTS.get(effort, effort)
    if kwargs:
        given = fields.object("chat_template_kwargs")
        body["chat_template_kwargs"] = kwargs | (given.values if given is not None else {})
    return shows


def _structured(fields: Fields, body: dict[str, Any]) -> bool:
    """Reads `output_config.format`, or the older `output_format`."""
    output = fields.object("output_config")
    if output is not None:
        output.refuse({"task_budget": "the gateway keeps no budgets of tasks"})
    wanted = (output.object("format") if output is not None else None) or fields.object("output_format")
    if wanted is None:
        return False
    wanted.needed_one_of("type", ("json_schema",))
    schema = wanted.needed_object("schema", "a JSON schema")
    named = {"name": "output", "schema": PlacedObject(schema.values, schema.place), "strict": True}
    body["response_format"] = PlacedObject(
        {"type": "json_schema", "json_schema": PlacedObject(named, wanted.place)}, wanted.place
    )
    return True


def _tools(fields: Fields, body: dict[str, Any]) -> None:
    tools = [_tool(tool) for tool in fields.objects("tools")]
    choice = fields.object("tool_choice")
    kind = choice.needed_one_of("type", ("auto", "any", "tool", "none")) if choice is not None else None
    if choice is not None and kind in ("any", "tool") and not tools:
        raise choice.wrong("type", f"is {kind}, but the request has no tools")
    if not tools:
        return
    body["tools"] = tools
    if choice is None:
        return
    if kind == "tool":
        # One required tool: llama-server has no choice by name.
        body["tools"] = only(tools, [choice.needed_text("name")], choice.where("name"))
    body["tool_choice"] = {"any": "required", "tool": "required"}.get(str(kind), kind)
    if (alone := choice.flag("disable_parallel_tool_use")) is not None:
        body["parallel_tool_calls"] = not alone


def _tool(tool: Fields) -> dict[str, Any]:
    kind = tool.text("type")
    if kind not in (None, "custom"):
        raise tool.wrong("type", f"is {kind}: Anthropic's own tools are not supported; define a custom tool")
    schema = tool.needed_object("input_schema", "a JSON schema")
    refuse_other_callers(tool)
    chat = function_tool(tool, tool.needed_text("name"), schema.values, schema="input_schema")
    if examples := tool.objects("input_examples"):
        # Chat tools have no field for examples
        lines = [chat["function"].get("description"), "Examples:", *(encode_json(each.values) for each in examples)]
        chat["function"]["description"] = "\n".join(filter(None, lines))
    return chat
