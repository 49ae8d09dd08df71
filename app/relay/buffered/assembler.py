"""Puts a whole answer together from its stream, equal to llama-server's own answer in one piece.

Sans-io and pure. The shapes are those of `/v1/chat/completions` and `/v1/completions`. Source: llama-server's
`server-task.cpp`, compared field by field with runs of b11434. Numbers keep the bytes in which they arrived.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from app.relay.amendments.sums import ChoiceCounts
from app.relay.buffered.choice import AnswerChoice, Piece
from app.relay.request.body import NULL
from app.relay.response.usage import Usage
from app.relay.sse_lines import LineSplitter, data_of

_Fields = dict[str, msgspec.Raw]
# The order of fields in a direct answer. Unknown fields of a chunk follow after them.
_ORDER = ("choices", "created", "model", "system_fingerprint", "object", "usage", "id", "timings")
_OF_STREAMS_ONLY = frozenset(("choices", "object", "prompt_progress"))


class _Error(msgspec.Struct, gc=False):
    code: Any = None


class _Timings(msgspec.Struct, gc=False):
    predicted_n: int | None = None


_EVENT = msgspec.json.Decoder(_Fields | None)
_PIECES = msgspec.json.Decoder(list[Piece])
_ERROR = msgspec.json.Decoder(_Error)
_TEXT = msgspec.json.Decoder(str)
_TIMINGS = msgspec.json.Decoder(_Timings | None)


@dataclass(frozen=True, slots=True)
class Whole:
    """Status and JSON body of an answer in one piece. `in_full` is False if the stream may lack a part of it."""

    status: int
    body: bytes
    in_full: bool = True


class Assembly:
    """Collects the bytes of a stream, in chunks of any size. `whole` returns the answer once the stream has ended.

    `per_prompt` is the number of choices per prompt.
    """

    __slots__ = (
        *("_broken", "_choices", "_data", "_done", "_ends", "_error", "_fields", "_kind", "_last", "_lines"),
        "_per_prompt",
    )

    def __init__(self, per_prompt: int = 1) -> None:
        # Framing: complete lines, and the data of the unfinished event
        self._lines = LineSplitter()
        self._data: list[bytes] = []
        # The text and fields collected so far
        self._choices: dict[int, AnswerChoice] = {}
        self._fields: _Fields = {}
        self._kind = ""
        self._last = 0
        # By choice: the token counts of its last events
        self._ends: dict[int, tuple[msgspec.Raw, msgspec.Raw]] = {}
        self._per_prompt = per_prompt
        # The end of the stream
        self._done = False
        self._broken = False
        self._error: Whole | None = None

    def feed(self, chunk: bytes) -> None:
        """Takes a chunk and never raises. An event that cannot be parsed makes `whole` return None."""
        for line in self._lines.feed(chunk):
            if not line:
                self._dispatch()
            elif (data := data_of(line)) is not None:
                self._data.append(data)
            elif line.startswith(b"error:"):
                # Builds of 2025 name the field of a failure `error`, without an object around it
                self._data.append(b'{"error":' + line[6:] + b"}")

    def whole(self) -> Whole | None:
        """Returns the answer, or the error that the stream carried.

        Returns None if the stream was cut before either.
        """
        if self._error is not None:
            return self._error
        if not self._done or self._broken or not self._choices:
            return None
        fields: dict[str, Any] = {
            **self._fields,
            "choices": [choice.whole(index) for index, choice in sorted(self._choices.items())],
            "object": self._kind.removesuffix(".chunk"),
        }
        if len(self._ends) > 1 and "usage" in fields:
            fields["usage"] = self._tally().usage()
        ordered = {name: fields.pop(name) for name in _ORDER if name in fields}
        in_full = all(choice.in_full for choice in self._choices.values())
        return Whole(200, msgspec.json.encode(ordered | fields), in_full)

    def counts(self) -> Usage | None:
        """Returns the counts of all choices together so far, or None if there is only one choice."""
        return self._tally().counts() if len(self._ends) > 1 else None

    def _tally(self) -> ChoiceCounts:
        tally = ChoiceCounts(self._per_prompt)
        for index, (usage, timings) in self._ends.items():
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                tally.add(index, msgspec.json.decode(usage), msgspec.json.decode(timings))
        return tally

    def _dispatch(self) -> None:
        if not self._data:
            return
        data, self._data = b"\n".join(self._data), []
        if data == b"[DONE]":
            self._done = True
            return
        try:
            # An engine writes `null` for an empty beginning
            fields = _EVENT.decode(data)
            if fields and "error" in fields:
                self._fail(data, fields["error"])
            elif fields:
                self._take(fields)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._broken = True

    def _fail(self, data: bytes, error: msgspec.Raw) -> None:
        """Keeps the error. A direct answer has the same text, with its code as the status."""
        code = _ERROR.decode(error).code
        self._error = Whole(code if isinstance(code, int) and 400 <= code <= 599 else 500, data)

    def _take(self, fields: _Fields) -> None:
        tokens = _tokens(fields)
        if "prompt_progress" in fields:
            tokens = None  # An event without text describes no token
        pieces = _PIECES.decode(fields.get("choices", b"[]"))
        for piece in pieces:
            self._last = piece.index
            choice = self._choices.get(piece.index)
            if choice is None:
                choice = self._choices[piece.index] = AnswerChoice(chat=piece.delta is not None)
            choice.add(piece, tokens)
        if not pieces and self._last in self._choices:
            self._choices[self._last].ends_at(tokens)
        if "usage" in fields or "timings" in fields:
            known = self._ends.get(self._last, (NULL, NULL))
            self._ends[self._last] = (fields.get("usage", known[0]), fields.get("timings", known[1]))
        if "object" in fields:
            self._kind = _TEXT.decode(fields["object"])
        # With several choices, each one ends with its own usage and timings. In chat these come in a chunk without a
        # choice, directly after the last chunk of their choice. A direct answer has those of the first choice.
        if self._last == 0:
            self._fields.update((name, raw) for name, raw in fields.items() if name not in _OF_STREAMS_ONLY)


def _tokens(fields: _Fields) -> int | None:
    """Returns the number of tokens generated by the time of this event, or None if the event has no such field."""
    timings = _TIMINGS.decode(fields["timings"]) if "timings" in fields else None
    return timings.predicted_n if timings else None
