"""A tap on an answer's bytes: sees everything, changes nothing, parses only the tail.

Sans-io. `feed` is called once a chunk on the hot path, so it does next to nothing: until the first token has
passed it looks for one, afterwards it counts events (0.2 us) and keeps the last few KB. `usage` and `timings` are
read off those at the end; they ride on the last chunks of a stream and near the end of a JSON body. Anthropic's
streams tell the prompt's tokens in their first event only, so what comes before the first token is kept as well.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Protocol

import msgspec

TAIL_BYTES = 16384
# A chunk is counted together with those behind it, unless it is larger than this or the last of so many
_SMALL_BYTES, _UNCOUNTED = 4096, 64

# A non-empty content or reasoning delta: chat, completions and native /completion, messages, responses.
_TEXT = re.compile(rb'"(?:content|reasoning_content|text|delta|thinking|arguments)"\s*:\s*"[^"]')
# What a client may take for the end: Anthropic's last event, Responses', and that of the others.
_LAST_EVENT = re.compile(rb"^(?:data: ?\[DONE\]|event: ?(?:message_stop|response\.(?:completed|incomplete)))\r?$", re.M)
# Of a long answer the last event of Responses begins before the tail; nothing else there has these three.
_OF_RESPONSES = frozenset(("input_tokens", "output_tokens", "total_tokens"))
_DECODER = json.JSONDecoder()


class _Whole(msgspec.Struct, gc=False):
    """Of an answer in one piece."""

    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None


_WHOLE = msgspec.json.Decoder(_Whole)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts of one answer; None where the upstream does not say.

    `decode` is the seconds from the first token to the last by llama-server's clock (`timings.predicted_ms`, which
    begins when the prompt is done, so that `predicted_n` tokens took `predicted_n - 1` steps of it); None as well where
    the timings are those of one choice among several. `reading` is the seconds for the prompt, without what was cached.
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
        """Of all choices together; None where there are not several."""


class UsageTap:
    """Feed it every chunk; `first_token_seen` turns true with the first generated text.

    `streamed` is False for an answer in one piece, in which nobody looks for a first token or counts events. `tally`
    knows more than the tail where there are several choices.
    """

    __slots__ = ("_events", "_head", "_size", "_tail", "_uncounted", "first_token_seen", "streamed", "tally")

    def __init__(self, *, streamed: bool = True) -> None:
        self.streamed = streamed
        self.first_token_seen = not streamed
        self.tally: AllChoices | None = None
        # From the one with the first text on
        self._events = 0
        self._head = b""
        # The last bytes; and what has come behind them, which is in no count yet
        self._tail = b""
        self._uncounted: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        if not self.first_token_seen:
            self._head += chunk[: TAIL_BYTES - len(self._head)]
            self.first_token_seen = _TEXT.search(chunk) is not None
            self._count()
            self._events = len(_TEXT.findall(chunk))
            self._keep(chunk)
            return
        self._uncounted.append(chunk)
        if len(chunk) > _SMALL_BYTES or len(self._uncounted) >= _UNCOUNTED:
            self._count()

    def _count(self) -> None:
        if self._uncounted:
            chunks = b"".join(self._uncounted)
            self._uncounted.clear()
            if self.streamed:
                self._events += chunks.count(b"data:")
            self._keep(chunks)

    def _keep(self, chunks: bytes) -> None:
        self._size += len(chunks)
        # One that is larger than the tail is kept as it is: a whole answer in one piece is to be read whole
        spare = len(self._tail) + len(chunks) - TAIL_BYTES
        if spare >= len(self._tail):
            self._tail = chunks
        elif spare <= 0:
            self._tail += chunks
        else:
            # From the beginning of an event, so that what is counted in the tail is counted whole
            event_end = self._tail.rfind(b"\n\n", 0, spare)
            self._tail = self._tail[event_end + 2 if event_end >= 0 else spare :] + chunks

    @property
    def size(self) -> int:
        """Bytes that have passed."""
        self._count()
        return self._size

    @property
    def tail(self) -> bytes:
        """At least the last TAIL_BYTES, or all there is."""
        self._count()
        return self._tail

    @property
    def between_events(self) -> bool:
        """Whether the stream stands at the end of an event, so that another one may follow."""
        return self.size == 0 or self.tail.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))

    @property
    def tokens(self) -> int:
        """How many a stream has brought as far as events show it: one each, but for those at its end without text."""
        tail = self.tail
        last = len(_TEXT.findall(tail))
        return last if len(tail) == self.size else max(last, self._events - tail.count(b"data:") + last)

    @property
    def finished(self) -> bool:
        """Whether a stream has said all, though its connection may still be open."""
        tail = self.tail
        if not self.between_events:
            return False
        return _LAST_EVENT.search(tail) is not None or self._reported_usage(_text(tail)).keys() >= _OF_RESPONSES

    def usage(self) -> Usage:
        """What the tail says of tokens; an answer that says nothing gives an empty Usage."""
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
        """`usage` and `timings`: of a whole text as they are, else as far as the tail has them."""
        tail = self.tail
        if not self.streamed and len(tail) == self.size:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                whole = _WHOLE.decode(tail)
                if whole.usage is not None:
                    return whole.usage, whole.timings or {}
        text = _text(tail)
        return self._reported_usage(text), _last_object(text, '"timings":')

    def _reported_usage(self, tail: str) -> dict[str, Any]:
        """The last event's word, and of the prompt the first one's, in which what has come out is no count yet."""
        last = _last_object(tail, '"usage":')
        if b'"message_start"' not in self._head:
            return last
        # All of a stream that came in one chunk is its head as well.
        head = _text(self._head).partition("\n\n")[0]
        first = _last_object(head, '"usage":')
        prompt = {name: value for name, value in first.items() if name != "output_tokens"}
        return prompt if last == first else prompt | last


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _last_object(text: str, key: str) -> dict[str, Any]:
    # In generated text the quote before the colon is escaped, so this finds the field and not a mention of it.
    at = len(text)
    while (at := text.rfind(key, 0, at)) >= 0:
        try:
            value, _ = _DECODER.raw_decode(text[at + len(key) :].lstrip())
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
    """Anthropic counts apart what came out of the cache."""
    fresh = _count(usage, "prompt_tokens", "input_tokens")
    return None if fresh is None else fresh + (_count(usage, "cache_read_input_tokens") or 0)


def _cached(usage: dict[str, Any]) -> int | None:
    """In Anthropic's words, or in those of OpenAI's two APIs."""
    for name in ("prompt_tokens_details", "input_tokens_details"):
        details = usage.get(name)
        if isinstance(details, dict):
            return _count(details, "cached_tokens")
    return _count(usage, "cache_read_input_tokens")


def _seconds(fields: dict[str, Any], name: str) -> float | None:
    """Of a field in milliseconds; JSON as Python reads it may say NaN or Infinity."""
    value = fields.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12:
        return value / 1000
    return None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
