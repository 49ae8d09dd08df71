"""Collects one choice of a whole answer from the chunks of a stream. Sans-io and pure.

Source: llama-server's `server-task.cpp` and `server-context.cpp`, compared with runs of b11434.
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
    """One choice in one chunk: `delta` in chat, `text` in completions."""

    index: int = 0
    finish_reason: str | None = None
    delta: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None


class AnswerChoice:
    """Takes the pieces of one choice in order."""

    __slots__ = ("_calls", "_chat", "_content", "_end", "_finish", "_logprobs", "_reasoning", "_role", "_shown")

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self._role = "assistant"
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._logprobs: list[msgspec.Raw] = []
        self._finish: str | None = None
        # Token counts: covered by the pieces so far, and reported at the end
        self._shown: int | None = None
        self._end: int | None = None

    @property
    def in_full(self) -> bool:
        """Tells whether the collected answer equals a direct one.

        A direct answer has as plain text what cannot be parsed as a message, such as the beginning of a tool call. When
        the token limit ends an answer, llama-server drops held-back text (half a character, or the beginning of a stop
        word). At any other end it sends that text.
        """
        if self._chat and not (self._content or self._reasoning or self._calls) and self._end != 1:
            return False
        return self._finish != "length" or (self._end is not None and self._shown == self._end)

    def ends_at(self, tokens: int | None) -> None:
        """Sets the total number of tokens, which a chunk without a choice reports."""
        self._end = tokens

    def add(self, piece: Piece, tokens: int | None) -> None:
        """Adds a piece. `tokens` is the number of tokens generated up to and including it, if known."""
        delta = piece.delta or _Delta(content=piece.text)
        if piece.finish_reason:
            self._finish, self._end = piece.finish_reason, tokens
        # The first chunk of a chat may contain only the role
        elif (delta.content or delta.reasoning_content or delta.tool_calls) and tokens is not None:
            self._shown = tokens
        if piece.logprobs is not None:
            # A copy, since a slice would keep the much larger event in memory
            self._logprobs += [entry.copy() for entry in piece.logprobs.content]
        self._role = delta.role or self._role
        if delta.content:
            self._content.append(delta.content)
        if delta.reasoning_content:
            self._reasoning.append(delta.reasoning_content)
        for call in delta.tool_calls or ():
            self._calls.setdefault(call.index, _Call()).add(call)

    def whole(self, index: int) -> dict[str, Any]:
        """Returns the choice as a direct answer has it."""
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
    """One tool call. Its arguments come in pieces.

    Its name and id come whole, and a later one replaces an earlier one.
    """

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
