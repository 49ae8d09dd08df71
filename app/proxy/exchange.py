"""One request's record as it grows, from its first byte to what is told of it at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.access.limits import Visit
from app.metrics import Finished
from app.proxy.headers import Headers
from app.proxy.sse import Tap, Usage
from app.proxy.surface import Surface
from app.proxy.upstream import Answer

_NOTHING = Usage()


@dataclass(slots=True)
class Exchange:
    """What the relay knows of a request; `ttft` is in seconds, `began` by the performance counter."""

    line: str
    request_id: str
    surface: Surface
    began: float
    alias: str = ""
    # The name of the key that asked; and what counts its limits, if it has any
    key: str = ""
    visit: Visit | None = None
    # What the client was told, and whether anything was
    status: int = 0
    started: bool = False
    ended: bool = False
    # When the client last got a byte before the answer's own, by the loop's clock
    spoken: float = 0.0
    ttft: float | None = None
    failure: Exception | None = None
    # The upstream's side
    answer: Answer | None = None
    tap: Tap | None = None
    _usage: Usage | None = None

    @property
    def ids(self) -> Headers:
        """The request's id in the headers in which the client looks for it."""
        given = self.request_id.encode("latin-1")
        return [(name, given) for name in self.surface.id_names]

    def usage(self) -> Usage:
        """What the tail says; read once, so ask only when the answer is complete or given up."""
        if self._usage is None:
            self._usage = self.tap.usage() if self.tap else _NOTHING
        return self._usage

    def finished(self) -> Finished:
        usage, answer = self.usage(), self.answer
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
            mode=answer.mode if answer else None,
            in_flight=answer.in_flight if answer else None,
            key=self.key,
            cached=usage.cached,
        )


# What the relay tells the world of a finished exchange: the record, and the failure if there was one.
Report = Callable[[Exchange], None]
