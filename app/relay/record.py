"""Measures an answer while it passes, and holds the record that is written at its end."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from app.records.metrics import Finished
from app.relay.captures import AnswerCapture, Exchange
from app.relay.response.usage import CapturingTap, Usage, UsageTap

_NOTHING = Usage()
# Estimates the tokens of a prompt that no engine has counted (English text and JSON): bytes per token, and the number
# of bytes examined.
_BYTES_A_TOKEN = 4
_EXAMINED_BYTES = 1 << 20
# Base64 of images and audio, which is not counted as text: so many of its characters in a row.
_MEDIA_RUN = b"A" * 512
_OTHER = b" "
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_MARKED = bytes(_MEDIA_RUN[0] if byte in _BASE64 else _OTHER[0] for byte in range(256))


class AnswerMeter:
    """Measures an answer and its usage, even if it ends early. Times are in seconds."""

    __slots__ = ("_tap", "_usage", "began", "body", "capture", "ttft")

    def __init__(self) -> None:
        # Times of the performance counter
        self.began = time.perf_counter()
        self.ttft: float | None = None
        # The body that is sent upstream, unless it is a form
        self.body: bytes | None = None
        # Keeps the answer, if captures are on
        self.capture: AnswerCapture | None = None
        # Set once an engine has begun to answer. Before that nothing counts as used.
        self._tap: UsageTap | None = None
        self._usage: Usage | None = None

    def listen(self, *, streamed: bool = True) -> UsageTap:
        """Returns a new tap for the answer's bytes. `streamed` is as in UsageTap."""
        if self.capture is not None:
            self._tap = CapturingTap(self.capture, streamed=streamed)
        else:
            self._tap = UsageTap(streamed=streamed)
        return self._tap

    def first_token(self) -> None:
        self.ttft = time.perf_counter() - self.began

    @property
    def last_event_passed(self) -> bool:
        """Tells whether a stream has sent its last event, although its connection may still be open."""
        return self._tap is not None and self._tap.streamed and self._tap.finished

    @property
    def tokens(self) -> int | None:
        """Returns the tokens of a stream so far. Returns None for a whole answer, which has none before its end."""
        return self._tap.tokens if self._tap is not None and self._tap.streamed else None

    def usage(self) -> Usage:
        """Returns the usage in the tail, or an estimate from the events if the stream reports none.

        Read it once, when the answer is complete or has been given up.
        """
        if self._usage is None:
            self._usage = self._known(self._tap) if self._tap is not None else _NOTHING
        return self._usage

    def _known(self, tap: UsageTap) -> Usage:
        reported = tap.usage()
        if reported.completion_tokens is not None or not tap.streamed:
            return reported
        prompt = estimated_tokens(self.body) if reported.prompt_tokens is None else reported.prompt_tokens
        return msgspec.structs.replace(reported, prompt_tokens=prompt, completion_tokens=tap.tokens)


class RequestRecord(msgspec.Struct, frozen=True, gc=False):
    """One finished request. `line` is its method and path, `failure` the reason if it failed."""

    line: str
    request_id: str
    finished: Finished
    failure: Exception | None = None
    # Its bodies, where they are kept
    exchange: Exchange | None = None


def estimated_tokens(body: bytes | None) -> int:
    """Estimates the tokens of the prompt in a body."""
    # A search for a text, since a regular expression would try each place of a run that is a little too short
    marked = (body or b"")[:_EXAMINED_BYTES].translate(_MARKED)
    text, end = len(marked), 0
    while (start := marked.find(_MEDIA_RUN, end)) >= 0:
        end = marked.find(_OTHER, start)
        end = len(marked) if end < 0 else end
        text -= end - start
    return text // _BYTES_A_TOKEN


# Receives the record of each finished request.
Report = Callable[[RequestRecord], None]
