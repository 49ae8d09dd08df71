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

from app.auth.guard import KEY
from app.auth.rate_limits import Limits
from app.errors import ShuttingDown, TandemError
from app.records.metrics import Metrics
from app.relay.api_format import Surface
from app.relay.headers import of_stream
from app.relay.record import Exchange, Report
from app.relay.request.body import ClientGone, Receive
from app.relay.request.media_fetch import Fetcher
from app.relay.request.parse import Call, Calls
from app.relay.request.scope import Scope
from app.relay.response.forward import forward
from app.relay.response.writer import Reply, Send, StreamAborted
from app.relay.upstream.client import Upstreams
from app.relay.upstream.response import Answer, abandon

# A cold stream: how long its headers may wait (what fails by then keeps its status), then the pace of comments.
HEADERS_WAIT_S = 5.0
COMMENT_EVERY_S = 10.0
# Seconds. An answer that is there sooner would have been sent to a client that left in between: it needs no task that
# watches.
WATCH_AFTER_S = 0.01


class Relay:
    """Relays POSTs chosen by `model` in the body, and GETs chosen by `?model=`."""

    def __init__(
        self,
        calls: Calls,
        upstreams: Upstreams,
        metrics: Metrics,
        *,
        report: Report,
        limits: Limits | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._calls = calls
        self._upstreams = upstreams
        self._metrics = metrics
        self._serving: set[asyncio.Task[Any]] = set()
        self._cut = False
        self.max_body = calls.max_body
        self._report = report
        self._fetcher = fetcher or Fetcher()
        self._limits = limits or Limits(time.monotonic)
        self.headers_wait = HEADERS_WAIT_S
        self.comment_every = COMMENT_EVERY_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *, surface: Surface, request_id: str) -> None:
        exchange = Exchange(f"{scope['method']} {scope['path']}", request_id, surface, time.perf_counter())
        reply = Reply(exchange, send)
        try:
            if (key := scope.get(KEY)) is not None:
                exchange.key = key.name
                exchange.visit = self._limits.visit(key)
            await self._watched(exchange, scope, receive, reply)
        except ClientGone:
            if not exchange.heard_out:
                exchange.status = 499  # nginx's number for it; nobody is left to read it
        except StreamAborted:
            raise
        except TandemError as error:
            exchange.failure = error
            await reply.refuse(error)
        except Exception as error:
            # A fault of ours: the client is told so in its own dialect, the server writes the traceback.
            exchange.failure = error
            if not exchange.started:
                await reply.refuse(error)
            raise
        finally:
            if exchange.alias:
                self._metrics.in_flight[exchange.alias] -= 1
            if exchange.visit is not None:
                usage = exchange.usage()
                exchange.visit.leave((usage.prompt_tokens or 0) + (usage.completion_tokens or 0))
            self._report(exchange)

    async def _watched(self, exchange: Exchange, scope: Scope, receive: Receive, reply: Reply) -> None:
        call = await self._calls.read(scope, receive, exchange.request_id)
        exchange.alias, exchange.body = call.alias, None if call.boundary else call.body
        self._metrics.in_flight[call.alias] += 1
        serving = asyncio.current_task()
        assert serving is not None
        gone, watcher = False, None

        async def watch() -> None:
            # uvicorn's send() says nothing when the client is gone; receive() does.
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            if not exchange.ended:
                gone = True
                serving.cancel()

        def begin() -> None:
            nonlocal watcher
            watcher = asyncio.create_task(watch())

        beginning = asyncio.get_running_loop().call_later(WATCH_AFTER_S, begin)
        self._serving.add(serving)
        try:
            await self._serve(exchange, call, reply)
        except asyncio.CancelledError:
            if not gone and not self._cut:
                raise
            serving.uncancel()
            if gone:
                raise ClientGone from None
            await self._shut_down(exchange, reply)
        finally:
            self._serving.discard(serving)
            beginning.cancel()
            if watcher is not None:
                watcher.cancel()

    def cut(self) -> None:
        """Ends every answer now, with an error where one has begun: the gateway has to go."""
        self._cut = True
        for serving in self._serving:
            serving.cancel()

    async def _shut_down(self, exchange: Exchange, reply: Reply) -> None:
        error = ShuttingDown("The gateway is shutting down.", retry_after=5)
        if not exchange.started:
            raise error
        await reply.break_off(exchange.surface.error_event(error), error)

    async def _serve(self, exchange: Exchange, call: Call, reply: Reply) -> None:
        try:
            if call.streaming:
                answer = await self._enter_in_company(exchange, call, reply)
            else:
                answer = await self._enter(exchange, call)
        except TandemError as error:
            if not exchange.started:
                raise
            await reply.break_off(exchange.surface.error_event(error), error)
        exchange.answer = answer
        try:
            await forward(exchange, call.headers, answer, reply, comment_every=self.comment_every)
            if exchange.usage().drafted:
                answer.drafted()
        finally:
            answer.close()

    async def _enter(self, exchange: Exchange, call: Call) -> Answer:
        """What the request names elsewhere is fetched before an engine is asked for."""
        if call.remote is not None and call.body is not None:
            body = await self._fetcher.fill(call.remote, call.body, largest=self.max_body)
            call = replace(call, body=body, remote=None)
        return await self._upstreams.enter(call, exchange.listen)

    async def _enter_in_company(self, exchange: Exchange, call: Call, reply: Reply) -> Answer:
        """A stream's headers wait a little; then 200 and comments, since clients and proxies give up on silence."""
        opening = asyncio.ensure_future(self._enter(exchange, call))
        try:
            await asyncio.wait({opening}, timeout=self.headers_wait)
            if not opening.done():
                await reply.start(200, of_stream(exchange.ids))
            while not opening.done():
                await reply.write(exchange.surface.comment(self._upstreams.waiting_for(call.alias)))
                exchange.spoken = asyncio.get_running_loop().time()
                await asyncio.wait({opening}, timeout=self.comment_every)
            return opening.result()
        except BaseException:
            await abandon(opening)
            raise
