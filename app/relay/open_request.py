"""A request on its way through the relay, and what it holds."""

from __future__ import annotations

import time
from dataclasses import dataclass

from app.auth.rate_limits import Reservation
from app.records.metrics import Finished
from app.relay.record import AnswerMeter, RequestRecord
from app.relay.request.parse import Call
from app.relay.response.writer import ResponseWriter
from app.relay.upstream.destination import Destination
from app.relay.upstream.response import UpstreamResponse
from app.scheduler.queue import Ticket


@dataclass(slots=True)
class OpenRequest:
    """One request on its way; `line` is its method and path."""

    line: str
    writer: ResponseWriter
    meter: AnswerMeter
    # What the scheduler gives it an engine by
    ticket: Ticket
    # The name of the key that asked; and what counts its limits, if it has any
    key: str = ""
    reservation: Reservation | None = None
    # There once the request is read
    call: Call | None = None
    # Where it goes, once there is a place; and the answer, once its headers are here
    destination: Destination | None = None
    response: UpstreamResponse | None = None
    # Whether an administrator has ended it
    cancelled: bool = False

    def close(self) -> None:
        """Gives back what it holds behind the gateway."""
        if self.response is not None:
            self.response.close()
        if self.destination is not None:
            self.destination.release()

    def record(self) -> RequestRecord:
        """To be made at its end."""
        usage, destination = self.meter.usage(), self.destination if self.response is not None else None
        speculation = destination.speculation if destination else None
        finished = Finished(
            alias=self.call.ref.name if self.call else "",
            status=self.writer.status,
            duration=time.perf_counter() - self.meter.began,
            ttft=self.meter.ttft,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            drafted=usage.drafted,
            accepted=usage.accepted,
            decode=usage.decode,
            mode=speculation.mode if speculation else None,
            in_flight=destination.in_flight if destination else None,
            key=self.key,
            cached=usage.cached,
            entry=self.call.ref.alias if self.call else "",
            reading=usage.reading,
        )
        return RequestRecord(self.line, self.writer.request_id, finished, self.writer.failure)
