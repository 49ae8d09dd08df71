"""Amends a request before it is relayed, and says how its answer is to be changed. Pure.

Each amendment belongs to a field. A request without any of these fields is neither decoded nor copied. Amendments for
llama-server's own behaviour are not made for attached servers (`ours` is False).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from app.errors import InvalidBodyError
from app.relay.amendments.answer import CLOSING, AmendedAnswer, ChangedAnswer, Counted, LegacyCalls, WithoutAlternatives
from app.relay.amendments.checks import check_fields, check_kept_fields
from app.relay.amendments.completion import SEVERAL, amended_completion
from app.relay.amendments.continued import WithoutPrefill, prefilled
from app.relay.amendments.draft import NULL_TEXT, Draft
from app.relay.amendments.formats import nested, refuse_ignored, refuse_ignored_patterns
from app.relay.amendments.infill import PATH, InfilledText
from app.relay.amendments.messages import WORDS, mended_messages
from app.relay.amendments.sums import ChoiceCounts
from app.relay.amendments.tools import chosen, legacy_functions, refuse_unknown_function, without_nulls
from app.relay.amendments.vectors import ShorterVectors
from app.relay.request.body import Routing, types_are_known
from app.relay.request.json_edit import edited, fields_of

_CHAT = "/v1/chat/completions"
_COUNTED = "/v1/chat/completions/input_tokens"
_COMPLETIONS = "/v1/completions"
_EMBEDDINGS = "/v1/embeddings"
_ONLY_CHECKED = ("/completion", "/infill", "/v1/rerank", "/v1/reranking", "/tokenize")
# Choices of one answer; no engine has as many slots.
MOST_CHOICES = 1024


class Amended(NamedTuple):
    """The changed request. `target` is path and query upstream; `answer` is None if the answer stays unchanged."""

    body: bytes
    target: str
    answer: AmendedAnswer | None = None


def amended(target: str, body: bytes, fields: Routing, request_id: str, *, ours: bool) -> Amended | None:
    """Returns None for a request that stays unchanged. Raises InvalidBodyError for one that llama-server cannot serve.

    `target` is path and query upstream.
    """
    path = target.partition("?")[0]
    amend = _AT.get(path)
    if amend is None:
        return None
    draft = Draft(path, fields, request_id, ours=ours)
    if ours:
        check_kept_fields(draft)
        if not types_are_known(fields):
            check_fields(draft, body)
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
    if draft.has("functions") or draft.has("function_call"):
        _functions(draft)
    if draft.has("tools") or "tools" in draft.values:
        _tools(draft)
    elif draft.has("tool_choice") and draft.value("tool_choice") not in ("auto", "none"):
        raise InvalidBodyError("'tool_choice' needs 'tools', which the request lacks.", param="tool_choice")
    if draft.has("response_format"):
        _format(draft)
    if draft.path == _CHAT:
        _stop(draft)
        if draft.ours and draft.has("top_logprobs"):
            _no_alternatives(draft)
        if draft.ours and draft.fields.stream and draft.has("continue_final_message"):
            _continued(draft)
        _several(draft)


def _messages(draft: Draft) -> None:
    if not draft.has("messages"):
        return
    raw = bytes(draft.fields.messages)
    if raw[1:-1].strip() == b"" and raw.startswith(b"["):
        raise InvalidBodyError("'messages' is empty: send at least one message.", param="messages")
    if (mended := mended_messages(raw)) is not None:
        draft.values["messages"] = mended


def _functions(draft: Draft) -> None:
    if not draft.has("functions"):
        if draft.value("function_call") != "none":
            words = "'function_call' needs 'functions', which the request lacks."
            raise InvalidBodyError(words, param="function_call")
        draft.drop.add("function_call")
        return
    functions, choice = draft.value("functions"), draft.value("function_call")
    refuse_unknown_function(functions, choice)
    draft.values |= legacy_functions(functions, choice, tools_too=draft.has("tools"))
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
    """Removes empty stop words: each would end every answer before its first token."""
    if not draft.has("stop") or b'""' not in bytes(draft.fields.stop):
        return
    stop = draft.value("stop")
    words = [word for word in (stop if isinstance(stop, list) else [stop]) if word != ""]
    if words:
        draft.values["stop"] = words
    else:
        draft.drop.add("stop")


def _no_alternatives(draft: Draft) -> None:
    """Requests one alternative instead of none, since llama-server then leaves out the chosen tokens too."""
    if draft.value("logprobs") is True and draft.value("top_logprobs") == 0:
        draft.values["top_logprobs"] = 1
        draft.changes.append(WithoutAlternatives())


def _continued(draft: Draft) -> None:
    """Requests the prefilled part of a tool call too, unless the client asks for it itself."""
    if not draft.value("continue_final_message") or not draft.value("tools") or draft.value("echo"):
        return
    if (texts := prefilled(bytes(draft.fields.messages))) is not None:
        draft.values["echo"] = True
        draft.changes.append(WithoutPrefill(texts))


def _several(draft: Draft) -> None:
    """Counts all choices of an answer with several, and turns the draft's changes into its amended answer."""
    n = draft.value("n") if draft.has("n") else 1
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
    if not draft.has("dimensions"):
        return
    dimensions = draft.value("dimensions")
    if not isinstance(dimensions, int) or isinstance(dimensions, bool) or dimensions < 1:
        raise InvalidBodyError("'dimensions' must be a whole number of 1 or more.", param="dimensions")
    draft.answer = ShorterVectors(dimensions)


# What a large body has to be decoded for, by path and field: its value begins with this, or holds one of these bytes
_ALWAYS, _NOT_ONE, _NO_TEXT = re.compile(b""), re.compile(rb"(?!1\Z)"), re.compile(rb'[^"]')
Trigger = re.Pattern[bytes] | tuple[bytes, ...]
_OF_CHATS: dict[str, Trigger] = {
    **dict.fromkeys(("functions", "function_call", "response_format", "continue_final_message"), _ALWAYS),
    "n": _NOT_ONE,
    "top_logprobs": re.compile(rb"0\Z"),
    "tool_choice": _NO_TEXT,
    "messages": WORDS,
    "tools": (NULL_TEXT, b"pattern"),
    "stop": (b'""',),
}
AMENDED_WITH: dict[str, dict[str, Trigger]] = {
    _CHAT: _OF_CHATS,
    _COUNTED: _OF_CHATS,
    "/apply-template": {"messages": WORDS},
    _COMPLETIONS: {
        **dict.fromkeys(("best_of", "response_format", "suffix", "echo"), _ALWAYS),
        "n": _NOT_ONE,
        "prompt": SEVERAL,
        "stop": (b'""',),
    },
    _EMBEDDINGS: {"dimensions": _ALWAYS},
    **{path: {} for path in _ONLY_CHECKED},
}
_AT: dict[str, Callable[[Draft], None]] = {
    _CHAT: _chat,
    _COUNTED: _chat,
    "/apply-template": _messages,
    _COMPLETIONS: _completion,
    _EMBEDDINGS: _embeddings,
    **dict.fromkeys(_ONLY_CHECKED, lambda draft: None),
}
