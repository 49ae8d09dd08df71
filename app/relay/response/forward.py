"""An upstream's answer on its way to the client: a stream with comments in its pauses, a whole text, or a refusal.

A stream's chunks are never parsed on the way.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from app.errors import UpstreamDied
from app.relay.headers import Headers, for_client, for_client_of_error
from app.relay.record import Exchange
from app.relay.response.keepalive import Company
from app.relay.response.speculation_info import asks_for_metrics, gather, told
from app.relay.response.stream_errors import Sieve, suspicious
from app.relay.response.usage import Tap
from app.relay.response.writer import Reply
from app.relay.upstream.response import EVENT_STREAM, Answer


async def forward(exchange: Exchange, asked: Headers, answer: Answer, reply: Reply, *, comment_every: float) -> None:
    """All of it, to the end; `asked` are the request's headers, `comment_every` is in seconds.

    Raises StreamAborted where an answer that has begun cannot be ended well, UpstreamDied before it has.
    """
    streamed = answer.content_type.startswith(EVENT_STREAM)
    if exchange.started and not (answer.status == 200 and streamed):
        event = exchange.surface.upstream_error_event(answer.status, await answer.read())
        await reply.break_off(event, None, answer.status if answer.status >= 400 else 502)
    if answer.status >= 400:
        await _refusal(exchange, answer, reply)
        return
    # A whole text at once has no time to first token, so nobody needs to look for one in it.
    exchange.tap = Tap(streamed=streamed)
    chunks = answer.chunks()
    if not exchange.started:
        headers = for_client(answer.raw_headers, exchange.ids)
        if answer.tells_of_speculation:
            await _tell(exchange, answer, asked, chunks, headers, reply)
        else:
            await reply.start(answer.status, headers)
    if streamed:
        await _events(exchange, exchange.tap, chunks, reply, comment_every)
    else:
        await _text(exchange.tap, chunks, reply)
    await reply.end()


async def _events(exchange: Exchange, tap: Tap, chunks: AsyncIterator[bytes], reply: Reply, every: float) -> None:
    """Chunk by chunk as they come, with comments in the pauses; raises StreamAborted."""
    sieve, surface = Sieve(), exchange.surface
    event, failure = b"", None
    comment = surface.comment("waiting for the engine")
    company = Company(reply.write, comment, lambda: tap.between_events, last=exchange.spoken, every=every)
    try:
        async for chunk in chunks:
            if sieve.kept or suspicious(chunk):
                chunk = sieve.pass_on(chunk, before=tap.tail)
            await company.send(chunk)
            seen = tap.first_token_seen
            tap.feed(chunk)
            if not seen and tap.first_token_seen:
                exchange.ttft = time.perf_counter() - exchange.began
            if sieve.kept and (error := sieve.error) is not None:
                event = surface.upstream_error_event(500, error)
                break
        else:
            if sieve.kept:  # a stream that ends within an event
                await company.send(sieve.kept)
                tap.feed(sieve.kept)
            return
    except UpstreamDied as error:
        failure = error
        # A half event cannot be taken back; ended, it does not swallow the error.
        event = (b"" if tap.between_events else b"\n\n") + surface.error_event(error)
    finally:
        company.close()
    await reply.break_off(event, failure)


async def _text(tap: Tap, chunks: AsyncIterator[bytes], reply: Reply) -> None:
    """In one piece, as it comes; raises StreamAborted."""
    try:
        async for chunk in chunks:
            await reply.write(chunk)
            tap.feed(chunk)
    except UpstreamDied as error:
        await reply.break_off(b"", error)


async def _refusal(exchange: Exchange, answer: Answer, reply: Reply) -> None:
    """An upstream's whole error in the client's dialect, a 500 for a bad request turned into a 400.

    Raises UpstreamDied before anything is promised.
    """
    exchange.tap = Tap(streamed=False)
    body, complete = await gather(answer.chunks(), exchange.tap)
    status, body = exchange.surface.upstream_error(answer.status, body if complete else b"")
    await reply.start(status, for_client_of_error(answer.raw_headers, exchange.ids, len(body)))
    await reply.end(body)


async def _tell(
    exchange: Exchange, answer: Answer, asked: Headers, chunks: AsyncIterator[bytes], headers: Headers, reply: Reply
) -> None:
    """Headers that tell what only the end of an answer says; one that is too long for that goes on as it is.

    Raises UpstreamDied before anything is promised.
    """
    assert exchange.tap is not None and answer.mode is not None
    body, complete = await gather(chunks, exchange.tap)
    if complete:
        wanted = asks_for_metrics(asked)
        headers, body = told(headers, body, mode=answer.mode, usage=exchange.usage(), asked=wanted)
    await reply.start(answer.status, headers)
    await reply.write(body)
