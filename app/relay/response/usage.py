"""Reads usage from the bytes of an answer without changing them. Parses only the tail.

Sans-io. The relay calls `feed` once per chunk, so it does very little. It searches for the first token until that has
passed. Afterwards it counts events (0.2 us) and keeps the last few KB. `usage` and `timings` are in the last chunks of
a stream, and near the end of a JSON body. Anthropic's streams report the prompt's tokens in their first event only, so
the tap also keeps the bytes before the first token.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from app.relay.captures import AnswerCapture

TAIL_BYTES = 16384
# A chunk is counted together with those behind it, unless it is larger than this or the last of so many
_SMALL_BYTES, _UNCOUNTED = 4096, 64
_EVENT = b"data:"
# A tail may be as large as a chunk. A count is this near to the end, in one of the last fields of its name
_READ_BYTES, _TRIES = 65536, 8
_BLANKS = re.compile(r"\s*")

# A content or reasoning delta with text: chat, completions and native /completion, messages, responses.
_TEXT = re.compile(rb'"(?:content|reasoning_content|text|delta|thinking|arguments)"\s*:\s*"[^"]')
# The last event of a stream: Anthropic's, that of Responses, and that of all others.
_LAST_EVENT = re.compile(rb"^(?:data: ?\[DONE\]|event: ?(?:message_stop|response\.(?:completed|incomplete)))\r?$", re.M)
# The last event of a long Responses stream begins before the tail. No other event has these three fields.
_OF_RESPONSES = frozenset(("input_tokens", "output_tokens", "total_tokens"))
_DECODER = json.JSONDecoder()


class _Whole(msgspec.Struct, gc=False):
    """The usage and timings of an answer in one piece."""

    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None


_WHOLE = msgspec.json.Decoder(_Whole)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts of one answer. None means that the upstream does not report it.

    `decode` is the seconds from the first token to the last by llama-server's clock. `timings.predicted_ms` begins when
    the prompt is done, so `predicted_n` tokens take `predicted_n - 1` steps of it. `decode` is also None if the timings
    are those of one choice among several. `reading` is the seconds for the prompt without its cached part.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    decode: float | None = None
    cached: int | None = None
    reading: float | None = None


class AllChoices(Protocol):
    """Counts the choices of one answer."""

    def counts(self) -> Usage | None:
        """Returns the counts of all choices together, or None if there is only one."""


class UsageTap:
    """Takes every chunk. `first_token_seen` becomes true with the first generated text.

    `streamed` is False for an answer in one piece, which needs no first token and no event count. `tally` knows more
    than the tail if there are several choices.
    """

    __slots__ = (
        *("_events", "_head", "_head_room", "_size", "_tail", "_uncounted"),
        *("first_token_seen", "streamed", "tally"),
    )

    def __init__(self, *, streamed: bool = True) -> None:
        self.streamed = streamed
        self.first_token_seen = not streamed
        self.tally: AllChoices | None = None
        # Counted from the first event with text
        self._events = 0
        # The first TAIL_BYTES, or those up to the first text
        self._head: list[bytes] = []
        self._head_room = TAIL_BYTES
        # The last bytes; and what has come behind them, which is in no count yet
        self._tail = b""
        self._uncounted: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        if not self.first_token_seen:
            self._look_for_text(chunk)
        self._uncounted.append(chunk)
        if len(chunk) > _SMALL_BYTES or len(self._uncounted) >= _UNCOUNTED:
            self._count()

    def _look_for_text(self, chunk: bytes) -> None:
        if self._head_room:
            self._head.append(chunk[: self._head_room])
            self._head_room -= len(self._head[-1])
        if (texts := len(_TEXT.findall(chunk))) > 0:
            self._count()  # The chunks before the first text count no event
            self.first_token_seen = True
            self._events = texts - chunk.count(_EVENT)

    def _count(self) -> None:
        if self._uncounted:
            chunks, several = b"".join(self._uncounted), len(self._uncounted) > 1
            self._uncounted.clear()
            if self.streamed and self.first_token_seen:
                self._events += chunks.count(_EVENT)
            self._size += len(chunks)
            self._keep(_end_of(chunks, len(chunks) - TAIL_BYTES) if several else chunks)

    def _keep(self, chunks: bytes) -> None:
        # One that is larger than the tail is kept as it is: a whole answer in one piece is to be read whole
        spare = len(self._tail) + len(chunks) - TAIL_BYTES
        if spare >= len(self._tail):
            self._tail = chunks
        elif spare <= 0:
            self._tail += chunks
        else:
            self._tail = _end_of(self._tail, spare) + chunks

    @property
    def size(self) -> int:
        """Bytes that have passed."""
        return self._size + sum(map(len, self._uncounted))

    @property
    def last_bytes(self) -> bytes:
        """The last four bytes that have passed."""
        last = b""
        for chunk in reversed(self._uncounted):
            last = chunk[-4:] + last
            if len(last) >= 4:
                return last[-4:]
        return (self._tail[-4:] + last)[-4:]

    @property
    def tail(self) -> bytes:
        """The last TAIL_BYTES at least, or the whole answer if it is shorter."""
        self._count()
        return self._tail

    @property
    def between_events(self) -> bool:
        """Tells whether the stream is at the end of an event, so that another event may follow."""
        last = self.last_bytes
        return not last or last.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))

    @property
    def tokens(self) -> int:
        """Returns the tokens so far by the count of events: one per event, except events without text at the end."""
        tail = self.tail
        last = len(_TEXT.findall(tail))
        return last if len(tail) == self.size else max(last, self._events - tail.count(_EVENT) + last)

    @property
    def finished(self) -> bool:
        """Tells whether the stream has sent its last event, although its connection may still be open."""
        tail = self.tail
        if not self.between_events:
            return False
        return _LAST_EVENT.search(tail) is not None or self._reported_usage(_text(tail)).keys() >= _OF_RESPONSES

    def usage(self) -> Usage:
        """Returns the usage that the tail reports. Returns an empty Usage if it reports none."""
        if self.tally is not None and (counted := self.tally.counts()) is not None:
            return counted
        usage, timings = self._reported()
        cached = _count(timings, "cache_n") or 0
        evaluated = _count(timings, "prompt_n")
        decoded = _count(timings, "predicted_n")
        tokens = _first(_count(usage, "completion_tokens", "output_tokens"), decoded)
        return Usage(
            prompt_tokens=_first(
                _prompt(usage),
                None if evaluated is None else evaluated + cached,
            ),
            completion_tokens=tokens,
            drafted=_count(timings, "draft_n"),
            accepted=_count(timings, "draft_n_accepted"),
            cached=_first(_count(timings, "cache_n"), _cached(usage)),
            decode=_seconds(timings, "predicted_ms") if tokens == decoded else None,
            reading=_seconds(timings, "prompt_ms"),
        )

    def _reported(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns `usage` and `timings`, from the whole text if it is complete, else from the tail."""
        tail = self.tail
        if not self.streamed and len(tail) == self.size:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                whole = _WHOLE.decode(tail)
                if whole.usage is not None:
                    return whole.usage, whole.timings or {}
        text = _text(tail)
        return self._reported_usage(text), _last_object(text, '"timings":')

    def _reported_usage(self, tail: str) -> dict[str, Any]:
        """Returns the usage of the last event.

        The first event has the prompt's tokens, and no final count of output.
        """
        last = _last_object(tail, '"usage":')
        head_bytes = b"".join(self._head)
        if b'"message_start"' not in head_bytes:
            return last
        # For a stream in one chunk, that chunk is its head as well.
        head = _text(head_bytes).partition("\n\n")[0]
        first = _last_object(head, '"usage":')
        prompt = {name: value for name, value in first.items() if name != "output_tokens"}
        return prompt if last == first else prompt | last


class CapturingTap(UsageTap):
    """One that also keeps what passes."""

    __slots__ = ("_capture",)

    def __init__(self, capture: AnswerCapture, *, streamed: bool) -> None:
        super().__init__(streamed=streamed)
        self._capture = capture
        capture.restart(streamed=streamed)

    def feed(self, chunk: bytes) -> None:
        self._capture.feed(chunk)
        super().feed(chunk)


def _end_of(content: bytes, spare: int) -> bytes:
    """Returns the content without its first `spare` bytes, or fewer.

    It begins with an event if possible, so that what is counted in the tail is counted whole.
    """
    if spare <= 0:
        return content
    event_end = content.rfind(b"\n\n", 0, spare)
    return content[event_end + 2 if event_end >= 0 else spare :]


def _text(content: bytes) -> str:
    """Decodes the end of an answer."""
    return content[-_READ_BYTES:].decode("utf-8", "replace")


def _last_object(text: str, key: str) -> dict[str, Any]:
    # JSON escapes quotes in generated text, so this matches the field and no mention of it.
    at = len(text)
    for _try in range(_TRIES):
        if (at := text.rfind(key, 0, at)) < 0:
            break
        begin = _BLANKS.match(text, at + len(key))
        try:
            value, _ = _DECODER.raw_decode(text, begin.end() if begin else at + len(key))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return {}


def _count(fields: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _prompt(usage: dict[str, Any]) -> int | None:
    """Returns the prompt's tokens. Anthropic's API counts the cached ones separately."""
    fresh = _count(usage, "prompt_tokens", "input_tokens")
    return None if fresh is None else fresh + (_count(usage, "cache_read_input_tokens") or 0)


def _cached(usage: dict[str, Any]) -> int | None:
    """Returns the cached tokens, by Anthropic's field or by those of OpenAI's two APIs."""
    for name in ("prompt_tokens_details", "input_tokens_details"):
        details = usage.get(name)
        if isinstance(details, dict):
            return _count(details, "cached_tokens")
    return _count(usage, "cache_read_input_tokens")


def _seconds(fields: dict[str, Any], name: str) -> float | None:
    """Returns a field in milliseconds as seconds. Python's JSON parser may produce NaN or Infinity."""
    value = fields.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12:
        return value / 1000
    return None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
