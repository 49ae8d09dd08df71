"""Bytes through: one request in, one lease, one upstream request, the same bytes out.

A raw ASGI callable, dispatched before FastAPI's routing (inside it a request costs about 120 us more). Every way out
goes through `finally`: the upstream connection is closed and the lease released on the client's disconnect, on the
engine's death and on success alike.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from msgspec.structs import replace

from app.auth.guard import KEY, client_of, may_use
from app.auth.rate_limits import RateLimits
from app.errors import ShuttingDownError, TandemError
from app.records.metrics import Metrics
from app.relay.api_format import ApiFormat
from app.relay.headers import of_stream
from app.relay.record import Report, RequestRecord
from app.relay.request.body import ClientDisconnectedError, Receive
from app.relay.request.media_fetch import MediaFetcher
from app.relay.request.parse import Call, Calls
from app.relay.request.scope import Scope
from app.relay.response.forward import forward
from app.relay.response.writer import ResponseWriter, Send, StreamAbortedError
from app.relay.upstream.client import Upstreams
from app.relay.upstream.response import UpstreamResponse, abandon
from app.scheduler.queue import Ticket

# A cold stream: how long its headers may wait (what fails by then keeps its status), then the pace of comments.
HEADERS_WAIT_S = 5.0
COMMENT_EVERY_S = 10.0
# Seconds. An answer that is there sooner would have been sent to a client that left in between: it needs no task that
# watches.
WATCH_AFTER_S = 0.01


class Relay:
    """Relays POSTs chosen by `model` in the body; GETs, and POSTs that change an engine, by `?model=`."""

    def __init__(
        self,
        calls: Calls,
        upstreams: Upstreams,
        metrics: Metrics,
        *,
        report: Report,
        limits: RateLimits | None = None,
        fetcher: MediaFetcher | None = None,
    ) -> None:
        self._calls = calls
        self._upstreams = upstreams
        self._metrics = metrics
        self._serving: set[asyncio.Task[Any]] = set()
        self._cut = False
        self._report = report
        self._fetcher = fetcher or MediaFetcher()
        self._limits = limits or RateLimits(time.monotonic)
        self.headers_wait = HEADERS_WAIT_S
        self.comment_every = COMMENT_EVERY_S

    @property
    def max_body(self) -> int:
        """The largest body that a request may have, in bytes."""
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
        record = RequestRecord(f"{scope['method']} {scope['path']}", request_id, api_format, time.perf_counter())
        record.ticket = ticket or Ticket(client_of(scope))
        writer = ResponseWriter(record, send)
        try:
            if (key := scope.get(KEY)) is not None:
                record.key = key.name
                record.reservation = self._limits.reserve(key)
            await self._watched(record, scope, receive, writer)
        except ClientDisconnectedError:
            if not record.heard_out:
                record.status = 499  # nginx's number for it; nobody is left to read it
        except StreamAbortedError:
            raise
        except TandemError as error:
            record.failure = error
            await writer.refuse(error)
        except Exception as error:
            # A fault of ours: the client is told so in its own dialect, the server writes the traceback.
            record.failure = error
            if not record.started:
                await writer.refuse(error)
            raise
        finally:
            if record.alias:
                self._metrics.in_flight[record.alias] -= 1
            if record.reservation is not None:
                usage = record.usage()
                record.reservation.leave((usage.prompt_tokens or 0) + (usage.completion_tokens or 0))
            self._report(record)

    async def _watched(self, record: RequestRecord, scope: Scope, receive: Receive, writer: ResponseWriter) -> None:
        call = await self._calls.read(scope, receive, record.request_id)
        record.alias, record.entry, record.body = call.ref.name, call.ref.alias, None if call.boundary else call.body
        self._metrics.in_flight[record.alias] += 1
        serving = asyncio.current_task()
        assert serving is not None
        gone, watcher = False, None

        async def watch() -> None:
            # uvicorn's send() says nothing when the client is gone; receive() does.
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            if not record.ended:
                gone = True
                serving.cancel()

        def begin() -> None:
            nonlocal watcher
            watcher = asyncio.create_task(watch())

        beginning = asyncio.get_running_loop().call_later(WATCH_AFTER_S, begin)
        self._serving.add(serving)
        try:
            await self._serve(record, call, writer)
        except asyncio.CancelledError:
            if not gone and not self._cut:
                raise
            serving.uncancel()
            if gone:
                raise ClientDisconnectedError from None
            await self._shut_down(record, writer)
        finally:
            self._serving.discard(serving)
            beginning.cancel()
            if watcher is not None:
                watcher.cancel()

    def unload_unless_used(self, model: str | None, scope: Scope) -> bool:
        """For a client that needs a model no longer; whether it is unloaded. Raises UnknownAliasError."""
        ref = self._calls.named(model, may_use(scope))
        return self._upstreams.unload_unless_used(ref, client_of(scope))

    def cut(self) -> None:
        """Ends every answer now, with an error where one has begun: the gateway has to go."""
        self._cut = True
        for serving in self._serving:
            serving.cancel()

    async def _shut_down(self, record: RequestRecord, writer: ResponseWriter) -> None:
        error = ShuttingDownError("The gateway is shutting down.", retry_after=5)
        if not record.started:
            raise error
        await writer.break_off(record.api_format.error_event(error), error)

    async def _serve(self, record: RequestRecord, call: Call, writer: ResponseWriter) -> None:
        try:
            if call.streaming:
                response = await self._enter_in_company(record, call, writer)
            else:
                response = await self._enter(record, call)
        except TandemError as error:
            if not record.started:
                raise
            await writer.break_off(record.api_format.error_event(error), error)
        record.response = response
        try:
            await forward(record, call.headers, response, writer, comment_every=self.comment_every)
            response.answered()
            if record.usage().drafted:
                response.drafted()
        finally:
            response.close()

    async def _enter(self, record: RequestRecord, call: Call) -> UpstreamResponse:
        """What the request names elsewhere is fetched before an engine is asked for."""
        if call.remote is not None and call.body is not None:
            body = await self._fetcher.fill(call.remote, call.body, largest=self.max_body)
            call = replace(call, body=body, remote=None)
        return await self._upstreams.enter(call, record.listen, record.ticket)

    async def _enter_in_company(self, record: RequestRecord, call: Call, writer: ResponseWriter) -> UpstreamResponse:
        """A stream's headers wait a little; then 200 and comments, since clients and proxies give up on silence."""
        opening = asyncio.ensure_future(self._enter(record, call))
        try:
            await asyncio.wait({opening}, timeout=self.headers_wait)
            if not opening.done():
                await writer.start(200, of_stream(record.ids))
            while not opening.done():
                await writer.write(record.api_format.comment(self._upstreams.waiting_for(call.ref, record.ticket)))
                record.spoken = asyncio.get_running_loop().time()
                await asyncio.wait({opening}, timeout=self.comment_every)
            return opening.result()
        except BaseException:
            await abandon(opening)
            raise
