"""Relays requests: one request in, one lease, one upstream request, the same bytes out.

A raw ASGI callable, dispatched before FastAPI's routing, which would cost about 120 us more per request. Every exit
closes the upstream connection and releases the lease: a disconnect, an engine's death and success alike.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from app import logs
from app.auth.guard import KEY, client_of, may_use
from app.auth.rate_limits import RateLimits
from app.errors import (
    InvalidBodyError,
    RequestCancelledError,
    ShuttingDownError,
    TandemError,
    UpstreamUnreachableError,
)
from app.records.metrics import Metrics
from app.relay.api_format import ApiFormat
from app.relay.disconnect import cancel_on_disconnect
from app.relay.headers import of_stream
from app.relay.open_request import OpenRequest
from app.relay.record import AnswerMeter, Report
from app.relay.request.body import ClientDisconnectedError, Receive
from app.relay.request.media_fetch import MediaFetcher
from app.relay.request.parse import Call, CallReader
from app.relay.request.scope import Scope
from app.relay.response.forward import forward
from app.relay.response.writer import CLIENT_LEFT, ResponseWriter, Send, StreamAbortedError
from app.relay.traffic import Traffic
from app.relay.upstream.client import UpstreamClient
from app.relay.upstream.destination import Destination
from app.relay.upstream.response import UpstreamResponse
from app.relay.upstream.router import Router
from app.scheduler.queue import Ticket

log = logs.get_logger("relay")

# Cold streams: the time that headers may wait (a failure within it keeps its status), then the interval of comments.
HEADERS_WAIT_S = 5.0
COMMENT_EVERY_S = 10.0
# The relay gives up a request after this many dead engines in a row
_ENGINES = 3


class Relay:
    """Relays POSTs by the `model` in their body. Relays GETs, and POSTs that change an engine, by `?model=`."""

    def __init__(
        self,
        calls: CallReader,
        router: Router,
        client: UpstreamClient,
        metrics: Metrics,
        *,
        report: Report,
        limits: RateLimits | None = None,
        fetcher: MediaFetcher | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._calls = calls
        self._router = router
        self._client = client
        self._metrics = metrics
        self._serving: set[asyncio.Task[Any]] = set()
        self._cut = False
        self._report = report
        self._fetcher = fetcher or MediaFetcher()
        self._traffic = traffic or Traffic()
        self._limits = limits or RateLimits(time.monotonic)
        self.headers_wait = HEADERS_WAIT_S
        self.comment_every = COMMENT_EVERY_S

    @property
    def max_body(self) -> int:
        """The size limit of a request body, in bytes."""
        return self._calls.max_body

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        api_format: ApiFormat,
        request_id: str,
        ticket: Ticket | None = None,
    ) -> None:
        writer, meter = ResponseWriter(send, api_format, request_id), AnswerMeter()
        ticket = ticket or Ticket(client_of(scope))
        request = OpenRequest(f"{scope['method']} {scope['path']}", writer, meter, ticket)
        try:
            if (key := scope.get(KEY)) is not None:
                request.key = key.name
                request.reservation = self._limits.reserve(key)
            await self._read_and_serve(request, scope, receive)
        except ClientDisconnectedError:
            # A client that has the last event of a stream need not wait for the end of the connection.
            if not (writer.started and request.meter.last_event_passed):
                writer.status = CLIENT_LEFT
        except StreamAbortedError:
            raise
        except TandemError as error:
            await writer.refuse(error)
        except RecursionError as error:
            # A depth that one reader of the body takes and the next one does not
            writer.failure = error
            if writer.started or request.response is not None:
                raise
            await writer.refuse(InvalidBodyError("The body is nested too deeply."))
        except Exception as error:
            # A fault of ours: the client gets an error in its API format, and the server logs the traceback.
            writer.failure = error
            if not writer.started:
                await writer.refuse(error)
            raise
        finally:
            self._finish(request)

    def _finish(self, request: OpenRequest) -> None:
        """Ends a request. This is the only place that records one."""
        if request.call is not None:
            self._metrics.in_flight[request.call.ref.name] -= 1
        if request.reservation is not None:
            usage = request.meter.usage()
            request.reservation.leave((usage.prompt_tokens or 0) + (usage.completion_tokens or 0))
        self._report(request.record())

    async def _read_and_serve(self, request: OpenRequest, scope: Scope, receive: Receive) -> None:
        writer = request.writer
        call = request.call = await self._calls.read(scope, receive, writer.request_id)
        request.meter.body = None if call.boundary else call.own_body or call.body
        request.meter.capture = self._traffic.captures.begin()
        self._metrics.in_flight[call.ref.name] += 1
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        number = self._traffic.begins(request, serving)
        try:
            with cancel_on_disconnect(receive, answered=lambda: writer.ended):
                await self._serve(request, call)
        except asyncio.CancelledError:
            if not (self._cut or request.cancelled):
                raise
            serving.uncancel()
            await self._end_early(request)
        finally:
            self._serving.discard(serving)
            self._traffic.ends(number)

    def refuse_edit(self, body: bytes) -> None:
        """Raises BodyTooLargeError if a body that has to be decoded is too large for that."""
        self._calls.refuse_edit(body)

    def unload_unless_used(self, model: str | None, scope: Scope) -> bool:
        """Unloads the model if no other client needs it. Returns whether it was unloaded. Raises UnknownAliasError."""
        ref = self._calls.named(model, may_use(scope))
        return self._router.unload_unless_used(ref, client_of(scope))

    def cut(self) -> None:
        """Ends every running answer, with an error event if it has begun. The gateway is about to exit."""
        self._cut = True
        for serving in list(self._serving):
            serving.cancel()

    async def _end_early(self, request: OpenRequest) -> None:
        writer = request.writer
        error: TandemError = ShuttingDownError("The gateway is shutting down.", retry_after=5)
        if request.cancelled and not self._cut:
            error = RequestCancelledError("An administrator has cancelled this request.")
        if not writer.started:
            raise error
        await writer.break_off(writer.api_format.error_event(error), error)

    async def _serve(self, request: OpenRequest, call: Call) -> None:
        writer, meter = request.writer, request.meter
        try:
            try:
                opening = self._open(request, call)
                destination, response = await (self._in_company(opening, request, call) if call.streaming else opening)
            except TandemError as error:
                if not writer.started:
                    raise
                await writer.break_off(writer.api_format.error_event(error), error)
            usage = await forward(call, destination, response, writer, meter, comment_every=self.comment_every)
            if response.status < 500:
                destination.answered()
            if usage.drafted:
                destination.drafted()
        finally:
            request.close()

    async def _open(self, request: OpenRequest, call: Call) -> tuple[Destination, UpstreamResponse]:
        """Returns the answer's headers, after fetching remote media. `request` owns the lease and the connection.

        An engine that accepts no connection has not received the request, so the next engine gets it.
        """
        if call.remote is not None and call.body is not None:
            body = await self._fetcher.fill(call.remote, call.body, largest=self.max_body)
            call = replace(call, body=body, remote=None, spans=None)
        for _ in range(_ENGINES - 1):
            try:
                return await self._ask(request, call)
            except UpstreamUnreachableError as error:
                if request.destination is None or not request.destination.restartable:
                    raise
                log.info(f"asking again: {error}", alias=call.ref.name, request_id=call.request_id)
        return await self._ask(request, call)

    async def _ask(self, request: OpenRequest, call: Call) -> tuple[Destination, UpstreamResponse]:
        destination = request.destination = await self._router.destination(call, request.ticket)
        try:
            response = request.response = await self._client.ask(destination, call, request.meter.listen)
        except BaseException:
            destination.release()
            raise
        return destination, response

    async def _in_company(
        self, opening: Coroutine[Any, Any, tuple[Destination, UpstreamResponse]], request: OpenRequest, call: Call
    ) -> tuple[Destination, UpstreamResponse]:
        """Sends 200 and comments if a stream's headers take long, since clients and proxies give up on silence."""
        task, writer = asyncio.ensure_future(opening), request.writer
        try:
            await asyncio.wait({task}, timeout=self.headers_wait)
            if not task.done():
                await writer.start(200, of_stream(writer.ids))
            while not task.done():
                await writer.comment(self._router.waiting_for(call.ref, request.ticket))
                await asyncio.wait({task}, timeout=self.comment_every)
            return task.result()
        except BaseException:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
            raise
