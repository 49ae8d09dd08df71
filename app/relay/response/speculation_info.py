"""Answers in one piece from engines that speculate: what their end tells goes into their headers, or beside it.

Pure but for `gather`. Errors, streams and servers of others pass untouched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import msgspec

from app.relay.headers import Headers
from app.relay.response.usage import Usage, UsageTap

# A longer answer is not kept in memory for the sake of a header.
LARGEST_BYTES = 8 << 20
SPECULATION = b"x-tandem-speculation"
# `x-tandem-metrics: body`. vLLM has no such request field: there a flag of the server decides (docs/design.md).
ASKED_BY = b"x-tandem-metrics"


async def gather(chunks: AsyncIterator[bytes], usage_tap: UsageTap, limit: int = LARGEST_BYTES) -> tuple[bytes, bool]:
    """What has come and whether it is all; with more than `limit` bytes the rest is still in `chunks`."""
    received: list[bytes] = []
    async for chunk in chunks:
        usage_tap.feed(chunk)
        received.append(chunk)
        if usage_tap.size > limit:
            return b"".join(received), False
    return b"".join(received), True


def with_speculation(headers: Headers, body: bytes, *, mode: str, usage: Usage, metrics: bool) -> tuple[Headers, bytes]:
    """Headers and body for the client of a whole answer; what is no completion stays as it is."""
    if usage.completion_tokens is None:
        return headers, body
    counts = _counts(usage)
    value = mode if counts is None else f"{mode}; drafted={counts[0]}; accepted={counts[1]}"
    headers = [*headers, (SPECULATION, value.encode("latin-1"))]
    if not metrics or counts is None:
        return headers, body
    longer = with_metrics(body, *counts)
    length = str(len(longer)).encode()
    return [(name, length if name == b"content-length" else content) for name, content in headers], longer


def _counts(usage: Usage) -> tuple[int, int] | None:
    """Drafted and accepted: llama-server leaves them out of the timings where nothing was drafted, and the timings
    out of answers in Anthropic's dialect and of Responses that are not streamed."""
    if usage.drafted is None and usage.decode is None:
        return None
    return usage.drafted or 0, usage.accepted or 0


def with_metrics(body: bytes, drafted: int, accepted: int) -> bytes:
    """The same object with vLLM's `metrics.speculative_decoding` at its end; anything but an object stays as it is.

    Of vLLM's fields those that llama-server counts: it does not tell the number of steps.
    """
    end = body.rstrip()
    if not end.endswith(b"}") or not end.startswith(b"{") or not end[1:-1].strip():
        return body
    metrics = {
        "draft_acceptance_rate": accepted / drafted if drafted else None,
        "num_accepted_draft_tokens": accepted,
        "num_draft_tokens": drafted,
    }
    field = b',"metrics":' + msgspec.json.encode({"speculative_decoding": metrics})
    return end[:-1] + field + b"}" + body[len(end) :]


def asks_for_metrics(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Of a client's ASGI headers, names in lower case."""
    return any(name == ASKED_BY and value.strip().lower() == b"body" for name, value in headers)
