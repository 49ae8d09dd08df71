"""Which headers cross the gateway."""

from __future__ import annotations

import math
from collections.abc import Iterable

from app.models.download.backoff import retry_after

Headers = list[tuple[bytes, bytes]]

# openai-python does not retry at all when it is asked to wait for longer.
LONGEST_RETRY_AFTER_S = 120
# OpenAI's SDKs look at the one in milliseconds first.
_LONGEST_WAIT = {b"retry-after": LONGEST_RETRY_AFTER_S, b"retry-after-ms": LONGEST_RETRY_AFTER_S * 1000}

# RFC 9110, section 7.6.1: they speak of one connection only.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# The client's own, never an upstream's business: credentials, what the HTTP client sets anew, and
# X-Conversation-Id, which makes llama-server go on generating after the client has left. X-Tandem-Metrics is ours.
KEPT_FROM_UPSTREAM = HOP_BY_HOP | {
    b"accept-encoding",
    b"api-key",
    b"authorization",
    b"content-length",
    b"cookie",
    b"expect",
    b"host",
    b"origin",
    b"referer",
    b"x-api-key",
    b"x-conversation-id",
    b"x-request-id",
    b"x-tandem-metrics",
}
_KEPT_OF_JSON = KEPT_FROM_UPSTREAM | {b"content-type"}
# An upstream's own: the gateway sets its date and its id, and says itself which web pages may read an answer.
KEPT_FROM_CLIENT = HOP_BY_HOP | {
    b"access-control-allow-credentials",
    b"access-control-allow-headers",
    b"access-control-allow-methods",
    b"access-control-allow-origin",
    b"access-control-expose-headers",
    b"access-control-max-age",
    b"date",
    b"request-id",
    b"server",
    b"set-cookie",
    b"x-request-id",
}


_OF_BODY = frozenset((b"content-encoding", b"content-length", b"content-type", b"etag"))
_OF_LENGTH = frozenset((b"content-length", b"transfer-encoding", b"etag"))


def for_upstream(headers: Headers, *, key: str | None, request_id: str, json: bool) -> Headers:
    """ASGI request headers, names in lower case -> what the upstream gets: its own key, not the client's.

    `json` says that the body is one, whatever the client calls it (`curl -d`: a form, of which less is taken).
    """
    named = _named_by_connection(headers)
    withheld = _KEPT_OF_JSON if json else KEPT_FROM_UPSTREAM
    passed = [(name, value) for name, value in headers if name not in withheld and name not in named]
    if json:
        passed.append((b"content-type", b"application/json"))
    passed.append((b"x-request-id", request_id.encode("latin-1")))
    if key is not None:
        passed.append((b"authorization", b"Bearer " + key.encode()))
    return passed


def request_head(method: str, target: str, host: str, headers: Headers, *, length: int | None, close: bool) -> bytes:
    """All of an HTTP/1.1 request before its body of `length` bytes, None where it has none."""
    parts = [f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n".encode("latin-1")]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    if length is not None:
        parts.append(b"Content-Length: %d\r\n" % length)
    if close:
        parts.append(b"Connection: close\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def for_client(headers: Iterable[tuple[bytes, bytes]], ids: Headers) -> Headers:
    """The upstream's raw response headers -> ASGI response headers, with the request's id."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = _named_by_connection(lowered)
    passed = [(name, value) for name, value in lowered if name not in KEPT_FROM_CLIENT and name not in named]
    passed += ids
    return passed


def for_client_of_error(headers: Iterable[tuple[bytes, bytes]], ids: Headers, length: int) -> Headers:
    """The same for an error in other words than the upstream's: JSON of `length` bytes."""
    passed = [(n, patient(n, v)) for n, v in for_client(headers, ids) if n not in _OF_BODY]
    return [(b"content-type", b"application/json"), (b"content-length", str(length).encode()), *passed]


def of_length(headers: Iterable[tuple[bytes, bytes]], length: int) -> Headers:
    """An upstream's headers for a body of `length` bytes that is another than its own."""
    return [(n, v) for n, v in headers if n.lower() not in _OF_LENGTH] + [(b"content-length", str(length).encode())]


def of_stream(ids: Headers) -> Headers:
    """Of an event stream that begins before the upstream's does."""
    return [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
        *ids,
    ]


def _named_by_connection(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """`Connection: close, X-Foo` makes X-Foo hop-by-hop as well."""
    for name, value in headers:
        if name == b"connection":
            return frozenset(part.strip().lower() for part in value.split(b","))
    return frozenset()


def patient(name: bytes, value: bytes) -> bytes:
    """The value of an upstream's header; Retry-After and its like are shortened to what clients have patience for."""
    longest = _LONGEST_WAIT.get(name)
    if longest is None:
        return value
    wait = retry_after(value.decode("latin-1"))
    return b"%d" % math.ceil(longest if wait is None else min(wait, longest))
