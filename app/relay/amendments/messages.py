"""Amends the messages of a chat: drops nulls, fills empty arguments, converts calls of 2023 and refusals. Pure.

llama-server (b11434) answers 500 to a null `reasoning_content`, `name` or `id`, to a tool call without `type` or
without `arguments`, and to `""` as arguments if the template needs an object. Messages without any of these words are
not decoded. It ignores `refusal`, and fails on a part of this type.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

import msgspec

from app.relay.request.json_decode import decoded, refuse_crowded

WORDS = (b'"tool_calls"', b"null", b'"function_call"', b'"function"', b'"refusal"')
_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])
# By function: the ids of calls without an answer, oldest first
OpenCalls = dict[str, deque[str]]


def mended_messages(raw: bytes) -> bytes | None:
    """The amended messages as JSON; None if they stay unchanged or cannot be read."""
    if not any(word in raw for word in WORDS):
        return None
    refuse_crowded(raw)
    try:
        messages = _MESSAGES.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the engine reports it
    open_calls: OpenCalls = defaultdict(deque)
    changed, mended = False, []
    for number, message in enumerate(messages):
        text = bytes(message)
        if any(word in text for word in WORDS):
            before = decoded(text)
            after = _mended(before, number, open_calls)
            if after != before:
                text, changed = msgspec.json.encode(after), True
        mended.append(text)
    return b"[" + b",".join(mended) + b"]" if changed else None


def _mended(message: Any, number: int, open_calls: OpenCalls) -> Any:
    if not isinstance(message, dict):
        return message
    mended = {name: value for name, value in message.items() if value is not None or name == "content"}
    call = mended.get("function_call")
    if isinstance(call, dict) and "tool_calls" not in mended:
        del mended["function_call"]
        mended["tool_calls"] = [{"id": f"call_{number}", "type": "function", "function": call}]
        open_calls[str(call.get("name"))].append(f"call_{number}")
    elif mended.get("role") == "function":
        mended |= {"role": "tool", "tool_call_id": _answered(open_calls, mended.get("name"), number)}
    if mended.get("role") == "assistant":
        _say_refusals(mended)
    if isinstance(mended.get("tool_calls"), list):
        mended["tool_calls"] = [_mended_call(call, f"call_{number}_{i}") for i, call in enumerate(mended["tool_calls"])]
    return mended


def _say_refusals(message: dict[str, Any]) -> None:
    """Makes what the model has refused a text, since templates know nothing else."""
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):
        message["content"] = [_said_part(part) for part in content]
    elif not content and isinstance(refusal, str):
        message["content"] = refusal


def _said_part(part: Any) -> Any:
    refused = isinstance(part, dict) and part.get("type") == "refusal" and isinstance(part.get("refusal"), str)
    return {"type": "text", "text": part["refusal"]} if refused else part


def _answered(open_calls: OpenCalls, name: Any, number: int) -> str:
    """The id of the oldest call of `name` without an answer."""
    waiting = open_calls.get(name) if isinstance(name, str) else None
    return waiting.popleft() if waiting else f"call_{number}"


def _mended_call(call: Any, unnamed: str) -> Any:
    if not isinstance(call, dict):
        return call
    mended = {name: value for name, value in call.items() if value is not None}
    if "id" in call:
        mended.setdefault("id", unnamed)
    function = mended.get("function")
    if not isinstance(function, dict):
        return mended
    mended.setdefault("type", "function")
    arguments = function.get("arguments")
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        mended["function"] = function | {"arguments": "{}"}
    return mended
