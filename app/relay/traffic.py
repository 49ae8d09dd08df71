"""Lists running requests and the last thousand finished ones for administrators, in memory."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from app.errors import UnknownRequestError
from app.records.metrics import Finished
from app.relay.captures import Captures, Exchange
from app.relay.open_request import OpenRequest
from app.relay.record import RequestRecord

KEPT = 1000


@dataclass(frozen=True, slots=True)
class RunningRequest:
    """A running request whose model is known. `at` is its arrival, in seconds since the epoch."""

    number: int
    at: float
    open: OpenRequest
    task: asyncio.Task[Any]

    def fields(self) -> dict[str, Any]:
        """Returns the fields of the admin API. Times are in seconds. A whole answer has no tokens before its end."""
        request, meter = self.open, self.open.meter
        seconds, tokens = time.perf_counter() - meter.began, meter.tokens
        speed = None
        if tokens and meter.ttft is not None and seconds > meter.ttft:
            speed = round(tokens / (seconds - meter.ttft), 2)
        return {
            "id": str(self.number),
            "request_id": request.writer.request_id,
            "request": request.line,
            "model": request.call.ref.name if request.call else "",
            "key": request.key,
            "client": request.ticket.client,
            "at": round(self.at, 3),
            "state": _state(request),
            "before": request.ticket.before,
            "seconds": round(seconds, 1),
            "tokens": tokens,
            "ttft": None if meter.ttft is None else round(meter.ttft, 4),
            "tok_s": speed,
        }


def _state(request: OpenRequest) -> str:
    if request.response is None:
        return "waiting" if request.ticket.before is not None else "sent"
    return "answering" if request.meter.ttft is not None else "reading"


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """A finished request. `number` grows by one per request, in the order in which they ended."""

    number: int
    at: float
    request_id: str
    line: str
    error: str
    figures: Finished
    # Whether its bodies were kept
    captured: bool = False

    def fields(self) -> dict[str, Any]:
        """Returns the fields of the admin API. Times are in seconds. Unknown values are None."""
        figures = self.figures
        tokens, decode = figures.completion_tokens, figures.decode
        return {
            "id": str(self.number),
            "request_id": self.request_id,
            "request": self.line,
            "model": figures.alias,
            "mode": figures.mode,
            "key": figures.key,
            "at": round(self.at, 3),
            "status": figures.status,
            "error": self.error,
            "seconds": round(figures.duration, 4),
            "ttft": None if figures.first_token is None else round(figures.first_token, 4),
            "tokens_per_second": round((tokens - 1) / decode, 2) if tokens and tokens > 1 and decode else None,
            "prompt_tokens": figures.prompt_tokens,
            "cached_tokens": figures.cached,
            "completion_tokens": tokens,
            "drafted": figures.drafted,
            "accepted": figures.accepted,
            "captured": self.captured,
        }


class Traffic:
    """The relay reports each request here. Readers get immutable values."""

    def __init__(self) -> None:
        self._running: dict[int, RunningRequest] = {}
        self._finished: deque[FinishedRequest] = deque(maxlen=KEPT)
        self._began = self._ended = 0
        self.captures = Captures()

    def begins(self, request: OpenRequest, task: asyncio.Task[Any]) -> int:
        """Adds a request that `task` answers. Returns its number, for `ends`."""
        self._began += 1
        self._running[self._began] = RunningRequest(self._began, time.time(), request, task)
        return self._began

    def ends(self, number: int) -> None:
        """Removes a request that has ended."""
        self._running.pop(number, None)

    def finished(self, record: RequestRecord) -> None:
        """Adds the result of a request, also of one that was refused before its model was known."""
        self._ended += 1
        error = str(record.failure) if record.failure is not None else ""
        self._finished.append(
            FinishedRequest(
                self._ended,
                time.time(),
                record.request_id,
                record.line,
                error,
                record.finished,
                captured=record.exchange is not None,
            )
        )
        if record.exchange is not None:
            self.captures.add(self._ended, record.exchange)

    def running(self) -> list[RunningRequest]:
        """Returns the running requests, the oldest first."""
        return list(self._running.values())

    def last(self, count: int = KEPT) -> list[FinishedRequest]:
        """Returns the last finished requests, the newest first."""
        newest = reversed(self._finished)
        return [request for request, _ in zip(newest, range(count), strict=False)]

    def capture(self, name: str) -> tuple[FinishedRequest, Exchange]:
        """The bodies of a request that has ended, by its number or its request id; raises UnknownRequestError."""
        for request in reversed(self._finished):
            if name in (str(request.number), request.request_id) and (found := self.captures.get(request.number)):
                return request, found
        how = "'captures' is 0, so no bodies are kept" if not self.captures.most else "it is older than those kept"
        raise UnknownRequestError(f"No bodies of a request '{name}' are kept: {how}.")

    @property
    def ended(self) -> int:
        """The number of the last finished request."""
        return self._ended

    def cancel(self, name: str) -> list[RunningRequest]:
        """Cancels the requests with this number, or else with this request id.

        Raises UnknownRequestError if none of them runs.
        """
        by_number = self._running.get(int(name)) if name.isascii() and name.isdecimal() and len(name) < 19 else None
        by_id = [request for request in self.running() if request.open.writer.request_id == name]
        cancelled = [by_number] if by_number else by_id
        if not cancelled:
            raise UnknownRequestError(f"Request '{name}' is not running. It may have ended.")
        for request in cancelled:
            request.open.cancelled = True
            request.task.cancel()
        return cancelled
