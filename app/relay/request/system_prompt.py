"""Adds a preset's system message to a conversation that has none. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

# Paths whose body is a chat: the prompt is a message
_MESSAGES = frozenset({"/v1/chat/completions", "/v1/chat/completions/input_tokens", "/apply-template"})
# Paths where the prompt is a field beside the conversation
_FIELD_AT = {
    "/v1/messages": "system",
    "/v1/messages/count_tokens": "system",
    "/v1/responses": "instructions",
    "/v1/responses/input_tokens": "instructions",
}
# The role for OpenAI's newer models is the latter
_ROLES = frozenset({"system", "developer"})


class _Message(msgspec.Struct):
    role: str | None = None


_CONVERSATION = msgspec.json.Decoder(list[_Message])


class SystemPrompt:
    """Adds the prompt by path upstream. A plain-text prompt (`/v1/completions`) has no place for a system message."""

    def __init__(self, text: str) -> None:
        self._text = msgspec.json.encode(text)
        self._message = msgspec.json.encode({"role": "system", "content": text})

    def fields(self, path: str, present: Mapping[str, bytes]) -> dict[str, bytes]:
        """Returns the fields to set, as JSON. `present` are the body's fields that are not null."""
        if path in _MESSAGES:
            messages = present.get("messages", b"").strip()
            if not messages.startswith(b"[") or _instructed(messages):
                return {}
            rest = messages[1:].lstrip()
            return {"messages": b"[" + self._message + (b"" if rest.startswith(b"]") else b",") + rest}
        field = _FIELD_AT.get(path)
        if field is None or field in present or _instructed(present.get("input", b"")):
            return {}
        return {field: self._text}


def _instructed(conversation: bytes) -> bool:
    """Tells whether a conversation has a system message.

    A conversation that cannot be decoded counts as one that has, so that the engine's error is about the client's own
    text. Items of Responses that are not messages have no role.
    """
    if not conversation.lstrip().startswith(b"["):
        return False
    try:
        messages = _CONVERSATION.decode(conversation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return any(message.role in _ROLES for message in messages)
