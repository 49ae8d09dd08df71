"""Removes the client's own beginning from an answer, since some engines repeat it. Pure."""

from __future__ import annotations

from typing import Any

Chat = list[dict[str, Any]]


def begun_answer(messages: Chat) -> str:
    """Joins the assistant's messages at the end to one, and returns its text, which the model continues.

    Engines take one such message. One with tool calls cannot be continued, and the engine reports it.
    """
    begin = len(messages)
    while begin and _is_text(messages[begin - 1]):
        begin -= 1
    parts = messages[begin:]
    if not parts:
        return ""
    text = "\n\n".join(filter(None, (part["content"] for part in parts)))
    for part in parts[1:]:
        parts[0] |= part
    parts[0]["content"] = text
    messages[begin:] = parts[:1]
    return text


def _is_text(message: dict[str, Any]) -> bool:
    text = isinstance(message.get("content"), str) and not message.get("tool_calls")
    return text and message["role"] == "assistant"


def go_on(body: dict[str, Any], *, thinks: bool) -> None:
    """Sets llama-server's fields for an answer that the client has begun. `thinks`: the client decides on thoughts."""
    body["echo"] = True  # a stream then always begins with the prefill, so that it can be removed
    if not thinks:
        # llama-server refuses to continue an answer with thoughts enabled
        body["chat_template_kwargs"] = {"enable_thinking": False, **body.get("chat_template_kwargs", {})}


class Prefill:
    """`text` is the last message of the request, if it is the assistant's."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._expected = text
        # Characters of the expected text that have come back
        self._echoed = 0

    def feed(self, piece: str) -> str:
        """Returns the part of a piece that is the model's. Holds it back while it may be the client's."""
        if not self._expected:
            return piece
        if self._expected.startswith(piece, self._echoed):
            self._echoed += len(piece)
            return ""
        expected, echoed = self._expected, self._echoed
        self._expected, self._echoed = "", 0
        return (expected[:echoed] + piece).removeprefix(expected)

    def end(self) -> str:
        """Returns the text that was held back, unless it is the client's."""
        held = self._expected[: self._echoed]
        self._expected, self._echoed = "", 0
        return "" if held == self.text else held
