"""One request's record as it grows, from its first byte to what is told of it at its end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from app.auth.rate_limits import Reservation
from app.records.metrics import Finished
from app.relay.api_format import ApiFormat
from app.relay.headers import Headers
from app.relay.response.usage import Usage, UsageTap
from app.relay.upstream.response import UpstreamResponse
from app.scheduler.queue import Ticket

_NOTHING = Usage()
# Of a prompt that no engine has counted: English text and JSON. What is longer than this counts as no more.
_BYTES_A_TOKEN = 4
_LOOKED_AT = 1 << 20
# Images and audio as base64 are no text.
_MEDIA = re.compile(rb"[A-Za-z0-9+/=]{512,}")


@dataclass(slots=True)
class RequestRecord:
    """What the relay knows of a request; `ttft` is in seconds, `began` by the performance counter."""

    line: str
    request_id: str
    api_format: ApiFormat
    began: float
    # The name that was asked for, and the own name of the entry behind it
    alias: str = ""
    entry: str = ""
    # As it goes upstream, unless it is a form
    body: bytes | None = None
    # The name of the key that asked; and what counts its limits, if it has any
    key: str = ""
    reservation: Reservation | None = None
    # What the client was told, and whether anything was
    status: int = 0
    started: bool = False
    ended: bool = False
    # When the client last got a byte before the answer's own, by the loop's clock
    spoken: float = 0.0
    ttft: float | None = None
    failure: Exception | None = None
    # What the scheduler gives it an engine by
    ticket: Ticket = field(default_factory=Ticket)
    # The upstream's side
    response: UpstreamResponse | None = None
    # There once an engine has begun to answer; before that it has not begun to work either
    usage_tap: UsageTap | None = None
    _usage: Usage | None = None

    @property
    def ids(self) -> Headers:
        """The request's id in the headers in which the client looks for it."""
        encoded = self.request_id.encode("latin-1")
        return [(name, encoded) for name in self.api_format.id_names]

    def listen(self) -> UsageTap:
        """To a stream that a whole answer is put together from."""
        self.usage_tap = UsageTap()
        return self.usage_tap

    @property
    def heard_out(self) -> bool:
        """Whether the client has had a stream's last event; it need not wait for the end of the connection then."""
        return self.started and self.usage_tap is not None and self.usage_tap.streamed and self.usage_tap.finished

    def usage(self) -> Usage:
        """What the tail says, or what a stream that does not say it has brought.

        Read once, so ask only when the answer is complete or given up.
        """
        if self._usage is None:
            self._usage = self._known() if self.usage_tap else _NOTHING
        return self._usage

    def _known(self) -> Usage:
        assert self.usage_tap is not None
        reported = self.usage_tap.usage()
        if reported.completion_tokens is not None or not self.usage_tap.streamed:
            return reported
        prompt = estimated_tokens(self.body) if reported.prompt_tokens is None else reported.prompt_tokens
        return replace(reported, prompt_tokens=prompt, completion_tokens=self.usage_tap.tokens)

    def finished(self) -> Finished:
        usage, response = self.usage(), self.response
        return Finished(
            alias=self.alias,
            status=self.status,
            duration=time.perf_counter() - self.began,
            ttft=self.ttft,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            drafted=usage.drafted,
            accepted=usage.accepted,
            decode=usage.decode,
            mode=response.mode if response else None,
            in_flight=response.in_flight if response else None,
            key=self.key,
            cached=usage.cached,
            entry=self.entry,
        )


def estimated_tokens(body: bytes | None) -> int:
    """Of the prompt in a body."""
    return len(_MEDIA.sub(b"", (body or b"")[:_LOOKED_AT])) // _BYTES_A_TOKEN


# What the relay tells the world of a finished request: the record, and the failure if there was one.
Report = Callable[[RequestRecord], None]
