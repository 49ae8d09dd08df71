"""State of one request on its way through the relay."""

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
    """One request on its way. `line` is its method and path."""

    line: str
    writer: ResponseWriter
    meter: AnswerMeter
    # The scheduler queues the request under this ticket
    ticket: Ticket
    # The name of the API key, and its limits, if any
    key: str = ""
    reservation: Reservation | None = None
    # Set once the request has been parsed
    call: Call | None = None
    # Set once the request has a place; the answer once its headers are here
    destination: Destination | None = None
    response: UpstreamResponse | None = None
    # Whether an administrator has cancelled it
    cancelled: bool = False

    def close(self) -> None:
        """Releases the upstream connection and the lease."""
        if self.response is not None:
            self.response.close()
        if self.destination is not None:
            self.destination.release()

    def record(self) -> RequestRecord:
        """Returns the record of the request. Call it once, at the end."""
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
        meter = self.meter
        exchange = meter.capture.exchange(meter.body) if meter.capture is not None else None
        return RequestRecord(self.line, self.writer.request_id, finished, self.writer.failure, exchange)
