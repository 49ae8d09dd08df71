"""One choice of a whole answer, as it grows out of the pieces of a stream. Sans-io and pure.

Read in llama-server's `server-task.cpp` and `server-context.cpp`, and compared with runs of b11434.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Aids:
    """What a stream was asked for besides, so that a whole answer can be made of it.

    `probabilities`: each piece has its token (`verbose`), since log probabilities alone miss those of drafted tokens;
    `post_sampling` says how they are named. `prefill`: how its text begins (`echo`).
    """

    probabilities: bool = False
    post_sampling: bool = False
    prefill: str = ""


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


class Verbose(msgspec.Struct):
    """`__verbose` of a chunk: a piece's token and text, or why there are no more."""

    tokens: list[int] = []
    content: str = ""
    stop_type: str = ""
    stopping_word: str = ""


class AnswerChoice:
    """Feed it the pieces in their order."""

    __slots__ = (
        "_aids",
        "_calls",
        "_chat",
        "_content",
        "_end",
        "_finish",
        "_logprobs",
        "_reasoning",
        "_role",
        "_shown",
        "stop_word",
        "untold",
    )

    def __init__(self, aids: Aids, *, chat: bool) -> None:
        self._aids = aids
        self._chat = chat
        self._role = "assistant"
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._logprobs: list[msgspec.Raw | dict[str, Any]] = []
        self._finish: str | None = None
        # Tokens: up to which the pieces go, and all of them
        self._shown: int | None = None
        self._end: int | None = None
        # The one that ended it, where its tokens have probabilities that a direct answer leaves out
        self.stop_word = ""
        # Whether the engine does not know an aid that is needed
        self.untold = False

    @property
    def in_full(self) -> bool:
        """Whether a direct answer would say no more than this.

        It has as plain text what cannot be read as a message, such as the mere beginning of a tool call. A limit cuts
        off what is held back because it may become a stop word, or is half a character; at any other end it is sent.
        """
        if self.untold or (self._aids.prefill and not self._content):
            return False
        if self._chat and not (self._content or self._reasoning or self._calls) and self._end != 1:
            return False
        return self._finish != "length" or (self._end is not None and self._shown == self._end)

    def ends_at(self, tokens: int | None) -> None:
        """How many there are, told on a chunk without a choice."""
        self._end = tokens

    def add(self, piece: Piece, tokens: int | None, verbose: Verbose | None) -> None:
        """`tokens` is how many this piece goes up to, if it is known."""
        only_prefill = False
        if self._aids.prefill and not self._content and (text := _text(piece)):
            # The very first text has all of it
            self.untold |= not text.startswith(self._aids.prefill)
            only_prefill = text == self._aids.prefill
        if piece.finish_reason:
            self._finish, self._end = piece.finish_reason, tokens
        elif _shows(piece) and not only_prefill and tokens is not None:
            self._shown = tokens
        if piece.text:
            self._content.append(piece.text)
        if self._aids.probabilities:
            self._take_probability(piece, verbose)
        elif piece.logprobs is not None:
            self._logprobs += _copied(piece.logprobs)
        if (delta := piece.delta) is None:
            return
        self._role = delta.role or self._role
        if delta.content:
            self._content.append(delta.content)
        if delta.reasoning_content:
            self._reasoning.append(delta.reasoning_content)
        for call in delta.tool_calls or ():
            self._calls.setdefault(call.index, _Call()).add(call)

    def _take_probability(self, piece: Piece, verbose: Verbose | None) -> None:
        if verbose is None:
            self.untold = True
        elif piece.finish_reason:
            self.stop_word = verbose.stopping_word if verbose.stop_type == "word" else ""
        elif piece.logprobs is not None:
            self._logprobs += _copied(piece.logprobs)
        else:
            self._logprobs += [self._drafted(token, verbose.content) for token in verbose.tokens]

    def _drafted(self, token: int, text: str) -> dict[str, Any]:
        """What a direct answer has for a token that was drafted: certainty, and nothing beside it."""
        # What was no character has become one on the way
        self.untold |= "\ufffd" in text
        certain = {"prob": 1.0, "top_probs": []} if self._aids.post_sampling else {"logprob": 0.0, "top_logprobs": []}
        return {"id": token, "token": text, "bytes": list(text.encode("utf-8", "replace")), **certain}

    def whole(self, index: int, stop_tokens: int = 0) -> dict[str, Any]:
        """As a direct answer has it; of its tokens the last `stop_tokens` are the stop word's."""
        text = "".join(self._content)
        entries = self._logprobs[: max(0, len(self._logprobs) - stop_tokens)]
        logprobs = {"content": entries} if entries else None
        if not self._chat:
            return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": self._finish}
        message: dict[str, Any] = {"role": self._role, "content": text}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = [self._calls[number].whole() for number in sorted(self._calls)]
        choice = {"finish_reason": self._finish, "index": index, "message": message}
        return choice if logprobs is None else choice | {"logprobs": logprobs}


def _copied(logprobs: _Logprobs) -> list[msgspec.Raw]:
    """Without the rest of the event that they came in, which may be many times as long."""
    return [entry.copy() for entry in logprobs.content]


def _text(piece: Piece) -> str:
    return piece.text or (piece.delta and (piece.delta.content or piece.delta.reasoning_content)) or ""


def _shows(piece: Piece) -> bool:
    """Whether anything came with it: the first piece of a chat may only tell whose turn it is."""
    return bool(_text(piece) or (piece.delta and piece.delta.tool_calls))


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
