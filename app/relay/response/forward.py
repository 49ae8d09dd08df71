"""Forwards an upstream's answer to the client: a stream with comments in its pauses, a whole answer, or an error.

It never parses the chunks of a stream on the way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.errors import UpstreamDiedError
from app.relay.amendments.answer import AmendedAnswer
from app.relay.headers import for_client, for_client_of_error, of_length
from app.relay.record import AnswerMeter
from app.relay.request.parse import Call
from app.relay.response.direct_path import direct_path
from app.relay.response.keepalive import StreamKeepalive
from app.relay.response.speculation_info import asks_for_metrics, gather, with_speculation
from app.relay.response.stream_errors import ErrorEventFilter, suspicious
from app.relay.response.usage import Usage, UsageTap
from app.relay.response.writer import ResponseWriter
from app.relay.turns import parts_in_turns
from app.relay.upstream.destination import Destination
from app.relay.upstream.response import EVENT_STREAM, JSON, UpstreamResponse

_NEVER_AGAIN = ((b"x-should-retry", b"false"),)


async def forward(
    call: Call,
    destination: Destination,
    response: UpstreamResponse,
    writer: ResponseWriter,
    meter: AnswerMeter,
    *,
    comment_every: float,
) -> Usage:
    """Forwards the whole answer and returns its usage. `comment_every` is in seconds.

    Raises StreamAbortedError if an answer that has begun cannot end well, and UpstreamDiedError if it has not begun.
    Raises InvalidBodyError if the answer shows that the request cannot be served as asked.
    """
    streamed = response.content_type.startswith(EVENT_STREAM)
    if writer.started and not (response.status == 200 and streamed):
        event = writer.api_format.upstream_error_event(response.status, await response.read(), meter.body)
        await writer.break_off(event, None, response.status if response.status >= 400 else 502)
    # A whole answer has no time to first token
    usage_tap = meter.listen(streamed=streamed and response.status < 400)
    if response.status >= 400:
        await _refusal(response, usage_tap, writer, meter.body)
        return meter.usage()
    chunks, raw_headers = response.chunks(), response.raw_headers
    if call.answer is not None and streamed:
        usage_tap.tally = call.answer.tally
        chunks = _amended_events(call.answer, chunks)
    elif call.answer is not None:
        body = call.answer.whole(await response.read())
        chunks, raw_headers = _in_one_piece(body), of_length(raw_headers, len(body))
    if not writer.started:
        headers = for_client(raw_headers, writer.ids)
        if (status := destination.speculation) is not None and _ends_with_counts(response):
            body, complete = await gather(chunks, usage_tap)
            if complete:
                metrics = asks_for_metrics(call.headers)
                headers, body = with_speculation(headers, body, mode=status.mode, usage=meter.usage(), metrics=metrics)
            await writer.start(response.status, headers)
            await writer.write(body)
        else:
            await writer.start(response.status, headers)
    if streamed:
        await _events(chunks, None if call.answer else response, usage_tap, writer, meter, comment_every)
    else:
        await _text(usage_tap, chunks, writer)
    await writer.end()
    return meter.usage()


def _ends_with_counts(response: UpstreamResponse) -> bool:
    """Tells whether the answer is a success in one piece: the counts of drafted tokens are at its end."""
    return response.status == 200 and response.content_type.startswith(JSON)


async def _amended_events(answer: AmendedAnswer, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        async for part in parts_in_turns(chunk):
            if whole_events := answer.feed(part):
                yield whole_events
    if last := answer.end():
        yield last


async def _in_one_piece(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _events(
    chunks: AsyncIterator[bytes],
    unchanged: UpstreamResponse | None,
    usage_tap: UsageTap,
    writer: ResponseWriter,
    meter: AnswerMeter,
    every: float,
) -> None:
    """Forwards an event stream, with comments in its pauses. Raises StreamAbortedError.

    `unchanged` is the response that the chunks come from, if the gateway changes none of them.
    """
    error_filter, api_format = ErrorEventFilter(), writer.api_format
    event, failure = b"", None
    comment = api_format.comment("waiting for the engine")
    keepalive = StreamKeepalive(
        writer.write, comment, lambda: usage_tap.between_events, last=writer.spoken, every=every
    )
    take = None
    if unchanged is not None and (write_now := writer.direct()) is not None:
        take = direct_path(write_now, keepalive, usage_tap)
    try:
        async for chunk in chunks:
            if error_filter.holding or suspicious(chunk):
                chunk = error_filter.pass_on(chunk, before=usage_tap.last_bytes)
            await keepalive.send(chunk)
            seen = usage_tap.first_token_seen
            usage_tap.feed(chunk)
            if not seen and usage_tap.first_token_seen:
                meter.first_token()
            if error_filter.holding and (error := error_filter.error) is not None:
                event = api_format.upstream_error_event(500, error)
                break
            if unchanged is not None and take is not None and usage_tap.first_token_seen and not error_filter.holding:
                await unchanged.hand_over(take)
        else:
            if error_filter.holding:  # The stream ended within an event
                await keepalive.send(error_filter.held_back)
                usage_tap.feed(error_filter.held_back)
            return
    except UpstreamDiedError as error:
        failure = error
        # A partial event has been sent already. A blank line ends it, so that the error is a separate event.
        event = (b"" if usage_tap.between_events else b"\n\n") + api_format.error_event(error)
    finally:
        keepalive.close()
    await writer.break_off(event, failure)


async def _text(usage_tap: UsageTap, chunks: AsyncIterator[bytes], writer: ResponseWriter) -> None:
    """Forwards a whole answer chunk by chunk. Raises StreamAbortedError."""
    try:
        async for chunk in chunks:
            await writer.write(chunk)
            usage_tap.feed(chunk)
    except UpstreamDiedError as error:
        await writer.break_off(b"", error)


async def _refusal(
    response: UpstreamResponse, usage_tap: UsageTap, writer: ResponseWriter, request_body: bytes | None
) -> None:
    """Sends an upstream's error in the client's API format. A 500 that reports a bad request becomes a 400.

    `request_body` is the request's body, in which the error may name a place.

    Raises UpstreamDiedError before anything is sent.
    """
    body, complete = await gather(response.chunks(), usage_tap)
    status, body = writer.api_format.upstream_error(response.status, body if complete else b"", request_body)
    headers = for_client_of_error(response.raw_headers, writer.ids, len(body))
    # A missing feature stays missing, but SDKs retry every status of 500 and above
    await writer.start(status, [*headers, *(_NEVER_AGAIN if status == 501 else ())])
    await writer.end(body)
