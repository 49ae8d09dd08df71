"""A whole answer put together from the stream of it, as llama-server would have given it in one piece.

Sans-io and pure. The shapes are those of `/v1/chat/completions` and `/v1/completions`, read in llama-server's
`server-task.cpp` and compared with runs of b11434, field by field. Numbers pass as the bytes that they came as.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

_Fields = dict[str, msgspec.Raw]
# The order of a direct answer; what else a chunk may carry one day goes behind it.
_ORDER = ("choices", "created", "model", "system_fingerprint", "object", "usage", "id", "timings")
_OF_STREAMS_ONLY = frozenset(("choices", "object", "prompt_progress"))


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


class _Piece(msgspec.Struct):
    """One choice of one chunk: `delta` in chat, `text` in completions."""

    index: int = 0
    finish_reason: str | None = None
    delta: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None


class _Error(msgspec.Struct, gc=False):
    code: Any = None


class _Timings(msgspec.Struct, gc=False):
    predicted_n: int | None = None


_EVENT = msgspec.json.Decoder(_Fields | None)
_PIECES = msgspec.json.Decoder(list[_Piece])
_ERROR = msgspec.json.Decoder(_Error)
_TEXT = msgspec.json.Decoder(str)
_TIMINGS = msgspec.json.Decoder(_Timings | None)


@dataclass(frozen=True, slots=True)
class Whole:
    """Status and JSON body of an answer in one piece; `in_full` is False where its end may have been held back."""

    status: int
    body: bytes
    in_full: bool = True


class Assembly:
    """Feed it the stream, cut anywhere; ask for `whole` when it has ended.

    `counted` says that the pieces tell how many tokens they go up to (`timings_per_token`).
    """

    __slots__ = ("_broken", "_choices", "_counted", "_data", "_done", "_error", "_fields", "_kind", "_last", "_line")

    def __init__(self, *, counted: bool = False) -> None:
        self._counted = counted
        # Framing: the line that has not ended, and the data of the event that has not
        self._line = b""
        self._data: list[bytes] = []
        # What has been said
        self._choices: dict[int, _Choice] = {}
        self._fields: _Fields = {}
        self._kind = ""
        self._last = 0
        # How it ended
        self._done = False
        self._broken = False
        self._error: Whole | None = None

    def feed(self, chunk: bytes) -> None:
        """Never raises; what cannot be understood makes an answer that is not whole."""
        *lines, self._line = (self._line + chunk).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if not line:
                self._dispatch()
            elif line.startswith(b"data:"):
                self._data.append(line[5:].lstrip(b" "))
            elif line.startswith(b"error:"):
                # builds of 2025 name the field of a failure so, without the object around it
                self._data.append(b'{"error":' + line[6:] + b"}")

    def whole(self) -> Whole | None:
        """The answer, or the error that the stream carried; None where it was broken off before either."""
        if self._error is not None:
            return self._error
        if not self._done or self._broken:
            return None
        fields: dict[str, Any] = {
            **self._fields,
            "choices": [self._choices[index].whole(index) for index in sorted(self._choices)],
            "object": self._kind.removesuffix(".chunk"),
        }
        ordered = {name: fields.pop(name) for name in _ORDER if name in fields}
        in_full = not self._counted or all(choice.in_full for choice in self._choices.values())
        return Whole(200, msgspec.json.encode(ordered | fields), in_full)

    def _dispatch(self) -> None:
        if not self._data:
            return
        data, self._data = b"\n".join(self._data), []
        if data == b"[DONE]":
            self._done = True
            return
        try:
            # `null` is what an engine writes for a beginning that has nothing to say
            fields = _EVENT.decode(data)
            if fields and "error" in fields:
                self._fail(data, fields["error"])
            elif fields:
                self._take(fields)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._broken = True

    def _fail(self, data: bytes, error: msgspec.Raw) -> None:
        """In one piece the same words come with their code as the status."""
        code = _ERROR.decode(error).code
        self._error = Whole(code if isinstance(code, int) and 400 <= code <= 599 else 500, data)

    def _take(self, fields: _Fields) -> None:
        tokens = _tokens(fields) if self._counted else None
        pieces = _PIECES.decode(fields.get("choices", b"[]"))
        for piece in pieces:
            self._last = piece.index
            choice = self._choices.get(piece.index)
            if choice is None:
                choice = self._choices[piece.index] = _Choice(chat=piece.delta is not None)
            choice.add(piece, tokens)
        if not pieces and self._last in self._choices:
            self._choices[self._last].ends_at(tokens)
        if "object" in fields:
            self._kind = _TEXT.decode(fields["object"])
        # Each of several choices ends with usage and timings of its own, in chat on a chunk without a choice right
        # behind its last one; a direct answer has those of the first.
        if self._last == 0:
            self._fields.update((name, raw) for name, raw in fields.items() if name not in _OF_STREAMS_ONLY)


def _tokens(fields: _Fields) -> int | None:
    """How many have been generated when an event was sent, where it says so."""
    timings = _TIMINGS.decode(fields["timings"]) if "timings" in fields else None
    return timings.predicted_n if timings else None


class _Choice:
    """One of the answer's choices as it grows."""

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
        """A limit cuts off what is held back, because it may become a stop word; at any other end it is sent first."""
        return self._finish != "length" or (self._end is not None and self._shown == self._end)

    def ends_at(self, tokens: int | None) -> None:
        self._end = tokens

    def add(self, piece: _Piece, tokens: int | None) -> None:
        """`tokens` is how many this piece goes up to, if it is known."""
        if piece.finish_reason:
            self._finish, self._end = piece.finish_reason, tokens
        elif _shows(piece) and tokens is not None:
            self._shown = tokens
        if piece.text:
            self._content.append(piece.text)
        if piece.logprobs is not None:
            self._logprobs += piece.logprobs.content
        if (delta := piece.delta) is None:
            return
        self._role = delta.role or self._role
        if delta.content:
            self._content.append(delta.content)
        if delta.reasoning_content:
            self._reasoning.append(delta.reasoning_content)
        for call in delta.tool_calls or ():
            self._calls.setdefault(call.index, _Call()).add(call)

    def whole(self, index: int) -> dict[str, Any]:
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


def _shows(piece: _Piece) -> bool:
    """Whether text came with it: the first piece of a chat may only tell whose turn it is."""
    delta = piece.delta
    return bool(piece.text or (delta and (delta.content or delta.reasoning_content or delta.tool_calls)))


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
