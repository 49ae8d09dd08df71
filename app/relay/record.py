"""What is known of a request: measured while its answer passes, and written down once, at its end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import msgspec

from app.records.metrics import Finished
from app.relay.response.usage import Usage, UsageTap

_NOTHING = Usage()
# Of a prompt that no engine has counted: English text and JSON. What is longer than this counts as no more.
_BYTES_A_TOKEN = 4
_LOOKED_AT = 1 << 20
# Images and audio as base64 are no text.
_MEDIA = re.compile(rb"[A-Za-z0-9+/=]{512,}")


class AnswerMeter:
    """What an answer takes and uses, however far it comes; times are in seconds."""

    __slots__ = ("_tap", "_usage", "began", "body", "ttft")

    def __init__(self) -> None:
        # By the performance counter
        self.began = time.perf_counter()
        self.ttft: float | None = None
        # As it goes upstream, unless it is a form
        self.body: bytes | None = None
        # There once an engine has begun to answer; before that it has not begun to work either
        self._tap: UsageTap | None = None
        self._usage: Usage | None = None

    def listen(self, *, streamed: bool = True) -> UsageTap:
        """A new tap, which is to get the answer's bytes; `streamed` as there."""
        self._tap = UsageTap(streamed=streamed)
        return self._tap

    def first_token(self) -> None:
        self.ttft = time.perf_counter() - self.began

    @property
    def last_event_passed(self) -> bool:
        """Whether a stream has said all, though its connection may still be open."""
        return self._tap is not None and self._tap.streamed and self._tap.finished

    @property
    def tokens(self) -> int | None:
        """Of a stream, as far as it has come; None for a whole answer, which shows none before its end."""
        return self._tap.tokens if self._tap is not None and self._tap.streamed else None

    def usage(self) -> Usage:
        """What the tail says, or what a stream that does not say it has brought.

        Read once, so ask only when the answer is complete or given up.
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
    """One request, when it is over: `line` is method and path, `failure` why it failed."""

    line: str
    request_id: str
    finished: Finished
    failure: Exception | None = None


def estimated_tokens(body: bytes | None) -> int:
    """Of the prompt in a body."""
    return len(_MEDIA.sub(b"", (body or b"")[:_LOOKED_AT])) // _BYTES_A_TOKEN


# What the relay tells the world of a finished request.
Report = Callable[[RequestRecord], None]
