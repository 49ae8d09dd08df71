"""Adds speculation counts to answers in one piece: to the headers, or to the body on request.

Pure but for `gather`. Errors, streams and answers of attached servers pass unchanged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import msgspec

from app.relay.headers import Headers
from app.relay.response.usage import Usage, UsageTap

# A longer answer is not held in memory for a header.
LARGEST_BYTES = 8 << 20
SPECULATION = b"x-tandem-speculation"
# `x-tandem-metrics: body`. vLLM has no request field for it; a flag of its server decides.
ASKED_BY = b"x-tandem-metrics"


async def gather(chunks: AsyncIterator[bytes], usage_tap: UsageTap, limit: int = LARGEST_BYTES) -> tuple[bytes, bool]:
    """Returns the bytes read, and whether they are complete. Beyond `limit` bytes the rest is still in `chunks`."""
    received: list[bytes] = []
    async for chunk in chunks:
        usage_tap.feed(chunk)
        received.append(chunk)
        if usage_tap.size > limit:
            return b"".join(received), False
    return b"".join(received), True


def with_speculation(headers: Headers, body: bytes, *, mode: str, usage: Usage, metrics: bool) -> tuple[Headers, bytes]:
    """Returns headers and body of a whole answer with its counts. A body that is no completion stays unchanged."""
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
    """Returns the counts of drafted and accepted tokens.

    llama-server omits them from the timings if it drafted nothing. It omits the timings from answers of the Messages
    API and from Responses that are not streamed.
    """
    if usage.drafted is None and usage.decode is None:
        return None
    return usage.drafted or 0, usage.accepted or 0


def with_metrics(body: bytes, drafted: int, accepted: int) -> bytes:
    """Adds vLLM's `metrics.speculative_decoding` to the end of a JSON object. Returns other bodies unchanged.

    It has the fields of vLLM that llama-server counts. llama-server does not report the number of steps.
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
    """Tells whether a client's ASGI headers (names in lower case) ask for metrics in the body."""
    return any(name == ASKED_BY and value.strip().lower() == b"body" for name, value in headers)
