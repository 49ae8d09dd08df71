"""A request as it goes on, and what its answer is to be turned into. Pure.

Each amendment is made for a field that asks for it; a request without any of them is neither decoded nor copied. What
depends on llama-server's ways is left alone where somebody else's server answers (`ours` is False).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from app.errors import InvalidBodyError
from app.relay.amendments.answer import CLOSING, AmendedAnswer, ChangedAnswer, Counted, LegacyCalls
from app.relay.amendments.completion import amended_completion
from app.relay.amendments.draft import NULL_TEXT, Draft
from app.relay.amendments.formats import nested, refuse_ignored, refuse_ignored_patterns
from app.relay.amendments.infill import PATH, InfilledText
from app.relay.amendments.messages import mended_messages
from app.relay.amendments.sums import ChoiceCounts
from app.relay.amendments.tools import chosen, legacy_functions, without_nulls
from app.relay.amendments.vectors import ShorterVectors
from app.relay.request.body import Routing
from app.relay.request.json_edit import edited, fields_of

_CHAT = "/v1/chat/completions"
_COUNTED = "/v1/chat/completions/input_tokens"
_COMPLETIONS = "/v1/completions"
_EMBEDDINGS = "/v1/embeddings"
# Choices of one answer; no engine has so many slots.
MOST_CHOICES = 1024


class Amended(NamedTuple):
    """`target` is path and query upstream; `answer` is None where that stays as it is."""

    body: bytes
    target: str
    answer: AmendedAnswer | None = None


def amended(target: str, body: bytes, fields: Routing, request_id: str, *, ours: bool) -> Amended | None:
    """None for a request that goes on as it is; raises InvalidBodyError for one that cannot be honoured.

    `target` is that of the upstream.
    """
    path = target.partition("?")[0]
    amend = _AT.get(path)
    if amend is None:
        return None
    draft = Draft(path, fields, request_id, ours=ours)
    amend(draft)
    if NULL_TEXT in body:
        written = fields_of(body)
        draft.drop |= {
            field.name for field in written if body[field.value : field.end] == NULL_TEXT
        } - draft.values.keys()
    if draft.drop or draft.values:
        values = {name: _encoded(value) for name, value in draft.values.items()}
        body = edited(body, values, draft.drop)
    elif draft.answer is None:
        return None
    return Amended(body, draft.target or target, draft.answer)


def _encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else msgspec.json.encode(value)


def _chat(draft: Draft) -> None:
    _messages(draft)
    if draft.there("functions") or draft.there("function_call"):
        _functions(draft)
    if draft.there("tools") or "tools" in draft.values:
        _tools(draft)
    elif draft.there("tool_choice") and draft.value("tool_choice") not in ("auto", "none"):
        raise InvalidBodyError("'tool_choice' is for requests with 'tools', and there are none.", param="tool_choice")
    if draft.there("response_format"):
        _format(draft)
    if draft.path == _CHAT:
        _stop(draft)
        _several(draft)


def _messages(draft: Draft) -> None:
    if not draft.there("messages"):
        return
    raw = bytes(draft.fields.messages)
    if raw[1:-1].strip() == b"" and raw.startswith(b"["):
        raise InvalidBodyError("'messages' is empty; it must have one message at least.", param="messages")
    if (mended := mended_messages(raw)) is not None:
        draft.values["messages"] = mended


def _functions(draft: Draft) -> None:
    if not draft.there("functions"):
        if draft.value("function_call") != "none":
            words = "'function_call' is for requests with 'functions', and there are none."
            raise InvalidBodyError(words, param="function_call")
        draft.drop.add("function_call")
        return
    functions, choice = draft.value("functions"), draft.value("function_call")
    draft.values |= legacy_functions(functions, choice, tools_too=draft.there("tools"))
    draft.drop |= {"functions", "function_call"}
    draft.changes.append(LegacyCalls())


def _tools(draft: Draft) -> None:
    if "tools" in draft.values or NULL_TEXT in bytes(draft.fields.tools):
        draft.values["tools"] = without_nulls(draft.value("tools"))
    choice = draft.value("tool_choice")
    if not draft.ours:
        return
    if isinstance(choice, dict | int | float | list):
        draft.values |= chosen(draft.value("tools"), choice)
    elif choice == "required" and not draft.value("tools"):
        raise InvalidBodyError("'tool_choice' is 'required', and 'tools' is empty.", param="tool_choice")
    if b"pattern" in bytes(draft.fields.tools) or "tools" in draft.values:
        _refuse_ignored_patterns_of(draft.value("tools"))


def _refuse_ignored_patterns_of(tools: Any) -> None:
    for i, tool in enumerate(tools if isinstance(tools, list) else ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and function.get("strict") is True:
            refuse_ignored_patterns(function.get("parameters"), f"tools[{i}].function.parameters")


def _format(draft: Draft) -> None:
    written = draft.value("response_format")
    response_format = nested(written)
    if draft.ours:
        refuse_ignored(response_format)
    if response_format != written:
        draft.values["response_format"] = response_format


def _stop(draft: Draft) -> None:
    """An empty stop word would end every answer before its first token."""
    if not draft.there("stop") or b'""' not in bytes(draft.fields.stop):
        return
    stop = draft.value("stop")
    words = [word for word in (stop if isinstance(stop, list) else [stop]) if word != ""]
    if words:
        draft.values["stop"] = words
    else:
        draft.drop.add("stop")


def _several(draft: Draft) -> None:
    """Counts all choices where there are several; the answer's changes, if there are any, become its amendment."""
    n = draft.value("n") if draft.there("n") else 1
    per_prompt = n if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= MOST_CHOICES else 1
    choices = per_prompt * max(1, len(draft.prompts))
    tally = None
    if choices > 1:
        tally = ChoiceCounts(per_prompt)
        draft.changes.append(Counted(tally, choices, draft.prompts))
    if draft.changes:
        draft.answer = ChangedAnswer(draft.changes, tally, per_prompt)


def _completion(draft: Draft) -> None:
    _stop(draft)
    amended_completion(draft)
    if draft.target != PATH:
        _several(draft)
        return
    draft.changes.append(InfilledText(draft.request_id))
    draft.answer = ChangedAnswer(draft.changes, closing=CLOSING)


def _embeddings(draft: Draft) -> None:
    if not draft.there("dimensions"):
        return
    dimensions = draft.value("dimensions")
    if not isinstance(dimensions, int) or isinstance(dimensions, bool) or dimensions < 1:
        raise InvalidBodyError("'dimensions' must be a whole number of 1 or more.", param="dimensions")
    draft.answer = ShorterVectors(dimensions)


_AT: dict[str, Callable[[Draft], None]] = {
    _CHAT: _chat,
    _COUNTED: _chat,
    "/apply-template": _messages,
    _COMPLETIONS: _completion,
    _EMBEDDINGS: _embeddings,
}
