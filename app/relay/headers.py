"""Selects the headers that cross the gateway, in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterable

from app.models.download.backoff import retry_after

Headers = list[tuple[bytes, bytes]]

# openai-python does not retry at all if the server asks it to wait longer.
LONGEST_RETRY_AFTER_S = 120
# OpenAI's SDKs read the header in milliseconds first.
_LONGEST_WAIT = {b"retry-after": LONGEST_RETRY_AFTER_S, b"retry-after-ms": LONGEST_RETRY_AFTER_S * 1000}

# RFC 9110, section 7.6.1: these headers concern one connection only.
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
# Never sent to an upstream: credentials, headers that the HTTP client sets itself, X-Tandem-Metrics (ours), and
# X-Conversation-Id, which makes llama-server continue to generate after its client has left.
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
# Never passed on from an upstream: the gateway sets its own date, request id and CORS headers.
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


def of_request_id(names: Iterable[bytes], request_id: str) -> Headers:
    """The headers of a response that name its request."""
    encoded = request_id.encode("latin-1")
    return [(name, encoded) for name in names]


def for_upstream(headers: Headers, *, key: str | None, request_id: str, json: bool) -> Headers:
    """Returns the headers for the upstream, with the upstream's key in place of the client's.

    `headers` are ASGI's, in lower case.

    `json` tells that the body is JSON. Its content type then says so, since `curl -d` declares a form and llama-server
    accepts smaller forms only.
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
    """Returns an HTTP/1.1 request up to its body.

    `length` is the size of the body in bytes, or None if there is none.
    """
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
    """Returns the ASGI headers of a response from the upstream's raw headers, and adds the request id."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = _named_by_connection(lowered)
    passed = [(name, value) for name, value in lowered if name not in KEPT_FROM_CLIENT and name not in named]
    passed += ids
    return passed


def for_client_of_error(headers: Iterable[tuple[bytes, bytes]], ids: Headers, length: int) -> Headers:
    """Returns the headers of a rewritten error: JSON of `length` bytes."""
    passed = [(n, patient(n, v)) for n, v in for_client(headers, ids) if n not in _OF_BODY]
    return [(b"content-type", b"application/json"), (b"content-length", str(length).encode()), *passed]


def of_length(headers: Iterable[tuple[bytes, bytes]], length: int) -> Headers:
    """Returns an upstream's headers for a changed body of `length` bytes."""
    return [(n, v) for n, v in headers if n.lower() not in _OF_LENGTH] + [(b"content-length", str(length).encode())]


def of_stream(ids: Headers) -> Headers:
    """Returns the headers of an event stream that begins before the upstream's."""
    return [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
        *ids,
    ]


def _named_by_connection(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Returns the headers that `Connection` names: `Connection: close, X-Foo` makes X-Foo hop-by-hop too."""
    for name, value in headers:
        if name == b"connection":
            return frozenset(part.strip().lower() for part in value.split(b","))
    return frozenset()


def patient(name: bytes, value: bytes) -> bytes:
    """Returns the value of an upstream's header.

    Shortens Retry-After and its variants to a time that clients accept.
    """
    longest = _LONGEST_WAIT.get(name)
    if longest is None:
        return value
    wait = retry_after(value.decode("latin-1"))
    return b"%d" % math.ceil(longest if wait is None else min(wait, longest))
