"""Decodes chat completions, complete or as events in arbitrary pieces. Pure.

Fields are llama-server's (b11434), and their names in other servers: `reasoning` is vLLM's `reasoning_content`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from app.relay.sse_lines import LineSplitter, data_of


class FunctionDelta(msgspec.Struct, gc=False):
    """A piece of a function call: the name complete, the arguments in pieces. Some servers send an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class CallDelta(msgspec.Struct, gc=False):
    """A piece of a tool call. In a complete answer: all of it, without an index."""

    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class ChatDelta(msgspec.Struct, gc=False):
    """The part of the message in an event."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None


class TokenProbabilities(msgspec.Struct, gc=False):
    """`logprobs` of a choice."""

    content: list[dict[str, Any]] | None = None


class ChatChoice(msgspec.Struct, gc=False):
    """`stop_reason` is vLLM's: the stop word that ended the answer."""

    index: int = 0
    delta: ChatDelta | None = None
    message: ChatDelta | None = None
    finish_reason: str | None = None
    logprobs: TokenProbabilities | None = None
    stop_reason: str | int | None = None


class VerboseEnd(msgspec.Struct, gc=False):
    """llama-server's own fields about the end, if `verbose` requests them."""

    stopping_word: str | None = None


class ChatEvent(msgspec.Struct, gc=False):
    """One event of a stream, or a complete answer."""

    choices: list[ChatChoice] = []
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    prompt_progress: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    verbose: VerboseEnd | None = msgspec.field(name="__verbose", default=None)


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """The relay's own error event, in the client's API format."""

    fields: dict[str, Any]


class Comment:
    """A comment between events, which keeps the connection alive."""


class Done:
    """`[DONE]`."""


COMMENT, DONE = Comment(), Done()
StreamPart = ChatEvent | StreamFailure | Comment | Done
_DECODER = msgspec.json.Decoder(ChatEvent)


def read_whole(body: bytes) -> ChatEvent:
    """Decodes a complete answer. Raises ValueError for any other body."""
    try:
        event = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not event.choices or event.choices[0].message is None:
        raise ValueError("no choice")
    return event


class ChatReader:
    """Decodes a stream's bytes as they arrive."""

    __slots__ = ("_failing", "_lines")

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._failing = False

    def feed(self, chunk: bytes) -> list[StreamPart]:
        parts: list[StreamPart] = []
        for line in self._lines.feed(chunk):
            if not line:
                continue
            if (data := data_of(line)) is not None:
                if (part := self._data(data)) is not None:
                    parts.append(part)
            elif line.startswith(b":"):
                parts.append(COMMENT)
            elif line.startswith(b"event:"):
                self._failing = line[6:].strip() == b"error"
        return parts

    def _data(self, data: bytes) -> StreamPart | None:
        """Decodes an event. Returns None for one that is not of a chat completion, such as another server's own."""
        if data.strip() == b"[DONE]":
            return DONE
        failing, self._failing = self._failing, False
        try:
            return StreamFailure(msgspec.json.decode(data, type=dict[str, Any])) if failing else _DECODER.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
