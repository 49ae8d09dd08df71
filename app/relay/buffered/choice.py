"""One choice of a whole answer, as it grows out of the pieces of a stream. Sans-io and pure.

Read in llama-server's `server-task.cpp` and `server-context.cpp`, and compared with runs of b11434.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: str = ""


class _ToolCall(msgspec.Struct):
    index: int = 0
    id: str = ""
    function: _Function | None = None


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] = []


class Piece(msgspec.Struct):
    """One choice of one chunk: `delta` in chat, `text` in completions."""

    index: int = 0
    finish_reason: str | None = None
    delta: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None


class AnswerChoice:
    """Feed it the pieces in their order."""

    __slots__ = ("_calls", "_chat", "_content", "_end", "_finish", "_logprobs", "_reasoning", "_role", "_shown")

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self._role = "assistant"
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._logprobs: list[msgspec.Raw] = []
        self._finish: str | None = None
        # Tokens: up to which the pieces go, and all of them
        self._shown: int | None = None
        self._end: int | None = None

    @property
    def in_full(self) -> bool:
        """Whether a direct answer would say no more than this.

        It has as plain text what cannot be read as a message, such as the mere beginning of a tool call. A limit cuts
        off what is held back because it may become a stop word, or is half a character; at any other end it is sent.
        """
        if self._chat and not (self._content or self._reasoning or self._calls) and self._end != 1:
            return False
        return self._finish != "length" or (self._end is not None and self._shown == self._end)

    def ends_at(self, tokens: int | None) -> None:
        """How many there are, told on a chunk without a choice."""
        self._end = tokens

    def add(self, piece: Piece, tokens: int | None) -> None:
        """`tokens` is how many this piece goes up to, if it is known."""
        delta = piece.delta or _Delta(content=piece.text)
        if piece.finish_reason:
            self._finish, self._end = piece.finish_reason, tokens
        # The first piece of a chat may only tell whose turn it is
        elif (delta.content or delta.reasoning_content or delta.tool_calls) and tokens is not None:
            self._shown = tokens
        if piece.logprobs is not None:
            # Without the rest of the event that they came in, which may be many times as long
            self._logprobs += [entry.copy() for entry in piece.logprobs.content]
        self._role = delta.role or self._role
        if delta.content:
            self._content.append(delta.content)
        if delta.reasoning_content:
            self._reasoning.append(delta.reasoning_content)
        for call in delta.tool_calls or ():
            self._calls.setdefault(call.index, _Call()).add(call)

    def whole(self, index: int) -> dict[str, Any]:
        """As a direct answer has it."""
        text = "".join(self._content)
        logprobs = {"content": self._logprobs} if self._logprobs else None
        if not self._chat:
            return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": self._finish}
        message: dict[str, Any] = {"role": self._role, "content": text}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = [self._calls[number].whole() for number in sorted(self._calls)]
        choice = {"finish_reason": self._finish, "index": index, "message": message}
        return choice if logprobs is None else choice | {"logprobs": logprobs}


class _Call:
    """One tool call: its arguments come in pieces; its name and id whole, and again where they were corrected."""

    __slots__ = ("_arguments", "_id", "_name")

    def __init__(self) -> None:
        self._id = self._name = ""
        self._arguments: list[str] = []

    def add(self, call: _ToolCall) -> None:
        self._id = call.id or self._id
        if call.function is not None:
            self._name = call.function.name or self._name
            self._arguments.append(call.function.arguments)

    def whole(self) -> dict[str, Any]:
        function = {"name": self._name, "arguments": "".join(self._arguments)}
        named = {"id": self._id} if self._id else {}
        return {"type": "function", "function": function, **named}
