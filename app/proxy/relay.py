"""Bytes through: one request in, one lease, one upstream request, the same bytes out.

A raw ASGI callable, dispatched before FastAPI's routing (inside it a request costs about 120 us more). It
never parses a chunk on the way. Every way out goes through `finally`: the upstream connection is closed
and the lease released on the client's disconnect, on the engine's death and on success alike.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, NoReturn

from app.access.guard import KEY
from app.access.limits import Limits
from app.errors import ShuttingDown, TandemError, UpstreamDied
from app.metrics import Metrics
from app.proxy.body import ClientGone, Message, Receive
from app.proxy.call import Call, Calls
from app.proxy.company import Company
from app.proxy.exchange import Exchange, Report
from app.proxy.fetch import Fetcher
from app.proxy.headers import Headers, for_client, for_client_of_error, of_stream
from app.proxy.scope import Scope
from app.proxy.sse import Tap
from app.proxy.stream_errors import Sieve, suspicious
from app.proxy.surface import Surface
from app.proxy.upstream import Answer, Upstreams, abandon
from app.proxy.whole import asks_for_metrics, gather, told

Send = Callable[[Message], Awaitable[None]]

# A cold stream: how long its headers may wait (what fails by then keeps its status), then the pace of comments.
HEADERS_WAIT_S = 5.0
COMMENT_EVERY_S = 10.0
EVENT_STREAM = b"text/event-stream"


class StreamAborted(Exception):
    """Raised on purpose once an answer has begun: uvicorn then breaks the connection, never a clean end."""


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
        try:
            if (key := scope.get(KEY)) is not None:
                exchange.key = key.name
                exchange.visit = self._limits.visit(key)
            await self._watched(exchange, scope, receive, send)
        except ClientGone:
            if not exchange.heard_out:
                exchange.status = 499  # nginx's number for it; nobody is left to read it
        except StreamAborted:
            raise
        except TandemError as error:
            exchange.failure = error
            await self._refuse(exchange, error, send)
        except Exception as error:
            # A fault of ours: the client is told so in its own dialect, the server writes the traceback.
            exchange.failure = error
            if not exchange.started:
                await self._refuse(exchange, error, send)
            raise
        finally:
            if exchange.alias:
                self._metrics.in_flight[exchange.alias] -= 1
            if exchange.visit is not None:
                usage = exchange.usage()
                exchange.visit.leave((usage.prompt_tokens or 0) + (usage.completion_tokens or 0))
            self._report(exchange)

    async def _watched(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        call = await self._calls.read(scope, receive, exchange.request_id)
        exchange.alias, exchange.body = call.alias, None if call.boundary else call.body
        self._metrics.in_flight[call.alias] += 1
        serving = asyncio.current_task()
        assert serving is not None
        gone = False

        async def watch() -> None:
            # uvicorn's send() says nothing when the client is gone; receive() does.
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            if not exchange.ended:
                gone = True
                serving.cancel()

        watcher = asyncio.create_task(watch())
        self._serving.add(serving)
        try:
            await self._serve(exchange, call, send)
        except asyncio.CancelledError:
            if not gone and not self._cut:
                raise
            serving.uncancel()
            if gone:
                raise ClientGone from None
            await self._shut_down(exchange, send)
        finally:
            self._serving.discard(serving)
            watcher.cancel()

    def cut(self) -> None:
        """Ends every answer now, with an error where one has begun: the gateway has to go."""
        self._cut = True
        for serving in self._serving:
            serving.cancel()

    async def _shut_down(self, exchange: Exchange, send: Send) -> None:
        error = ShuttingDown("The gateway is shutting down.", retry_after=5)
        if not exchange.started:
            raise error
        await self._break_off(exchange, exchange.surface.error_event(error), error, send)

    async def _serve(self, exchange: Exchange, call: Call, send: Send) -> None:
        try:
            answer = await (
                self._enter_in_company(exchange, call, send) if call.streaming else self._enter(exchange, call)
            )
        except TandemError as error:
            if not exchange.started:
                raise
            await self._break_off(exchange, exchange.surface.error_event(error), error, send)
        exchange.answer = answer
        try:
            await self._forward(exchange, call, answer, send)
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

    async def _enter_in_company(self, exchange: Exchange, call: Call, send: Send) -> Answer:
        """A stream's headers wait a little; then 200 and comments, since clients and proxies give up on silence."""
        opening = asyncio.ensure_future(self._enter(exchange, call))
        try:
            await asyncio.wait({opening}, timeout=self.headers_wait)
            if not opening.done():
                await self._start(exchange, 200, of_stream(exchange.ids), send)
            while not opening.done():
                await _body(send, exchange.surface.comment(self._upstreams.waiting_for(call.alias)))
                exchange.spoken = asyncio.get_running_loop().time()
                await asyncio.wait({opening}, timeout=self.comment_every)
            return opening.result()
        except BaseException:
            await abandon(opening)
            raise

    async def _forward(self, exchange: Exchange, call: Call, answer: Answer, send: Send) -> None:
        if exchange.started and not (answer.status == 200 and answer.content_type.startswith(EVENT_STREAM)):
            event = exchange.surface.upstream_error_event(answer.status, await answer.read())
            await self._break_off(exchange, event, None, send)
        if answer.status >= 400:
            await self._pass_refusal(exchange, answer, send)
            return
        streamed = answer.content_type.startswith(EVENT_STREAM)
        # A whole text at once has no time to first token, so nobody needs to look for one in it.
        exchange.tap = Tap(streamed=streamed)
        chunks = answer.chunks()
        if not exchange.started:
            headers = for_client(answer.raw_headers, exchange.ids)
            if answer.tells_of_speculation:
                await self._tell(exchange, call, answer, chunks, headers, send)
            else:
                await self._start(exchange, answer.status, headers, send)
        await self._pass_on(exchange, chunks, streamed, send)
        exchange.ended = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass_on(self, exchange: Exchange, chunks: AsyncIterator[bytes], streamed: bool, send: Send) -> None:
        """Chunk by chunk as they come, with comments in the pauses of a stream; raises StreamAborted."""
        assert exchange.tap is not None
        tap, sieve, surface = exchange.tap, Sieve(), exchange.surface
        event, failure = b"", None
        company = Company(
            send,
            surface.comment("waiting for the engine"),
            lambda: tap.between_events,
            last=exchange.spoken,
            every=self.comment_every if streamed else None,
        )
        try:
            async for chunk in chunks:
                if streamed and (sieve.kept or suspicious(chunk)):
                    chunk = sieve.pass_on(chunk, before=tap.tail)
                await company.send(chunk)
                seen = tap.first_token_seen
                tap.feed(chunk)
                if not seen and tap.first_token_seen:
                    exchange.ttft = time.perf_counter() - exchange.began
                if sieve.kept and (told := sieve.error) is not None:
                    event = surface.upstream_error_event(500, told)
                    break
            else:
                if sieve.kept:  # a stream that ends within an event
                    await company.send(sieve.kept)
                    tap.feed(sieve.kept)
                return
        except UpstreamDied as error:
            failure = error
            if streamed:
                # A half event cannot be taken back; ended, it does not swallow the error.
                event = (b"" if tap.between_events else b"\n\n") + surface.error_event(error)
        finally:
            company.close()
        await self._break_off(exchange, event, failure, send)

    async def _pass_refusal(self, exchange: Exchange, answer: Answer, send: Send) -> None:
        """An upstream's whole error in the client's dialect, a 500 for a bad request turned into a 400.

        Raises UpstreamDied before anything is promised.
        """
        exchange.tap = Tap(streamed=False)
        body, complete = await gather(answer.chunks(), exchange.tap)
        status, body = exchange.surface.upstream_error(answer.status, body if complete else b"")
        headers = for_client_of_error(answer.raw_headers, exchange.ids, len(body))
        await self._start(exchange, status, headers, send)
        exchange.ended = True
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _tell(
        self,
        exchange: Exchange,
        call: Call,
        answer: Answer,
        chunks: AsyncIterator[bytes],
        headers: Headers,
        send: Send,
    ) -> None:
        """Headers that tell what only the end of an answer says; one that is too long for that goes on as it is.

        Raises UpstreamDied before anything is promised.
        """
        assert exchange.tap is not None and answer.mode is not None
        body, complete = await gather(chunks, exchange.tap)
        if complete:
            asked = asks_for_metrics(call.headers)
            headers, body = told(headers, body, mode=answer.mode, usage=exchange.usage(), asked=asked)
        await self._start(exchange, answer.status, headers, send)
        await _body(send, body)

    async def _start(self, exchange: Exchange, status: int, headers: Headers, send: Send) -> None:
        exchange.started, exchange.status = True, status
        exchange.spoken = asyncio.get_running_loop().time()
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _break_off(self, exchange: Exchange, event: bytes, error: Exception | None, send: Send) -> NoReturn:
        """The last words, then an aborted connection: a clean end would be a lie."""
        exchange.status, exchange.failure, exchange.ended = 502, error, True
        if event:
            await _body(send, event)
        raise StreamAborted(str(error or "the upstream refused"))

    async def _refuse(self, exchange: Exchange, error: Exception, send: Send) -> None:
        reply = exchange.surface.error(error, request_id=exchange.request_id)
        exchange.ended = True
        await self._start(exchange, reply.status, reply.headers, send)
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})


async def _body(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
