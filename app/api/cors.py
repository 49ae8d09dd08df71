"""CORS (the Fetch standard): tells browsers which web pages may read responses. Pure ASGI, around everything else.

Responses name a listed origin, never `*`, and never allow credentials. A page sends its key in a header, so it cannot
use the cookies of another user.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from app.relay.headers import Headers
from app.relay.request.body import Message, Receive
from app.relay.request.scope import Scope, header

Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Seconds for which a browser caches the answer to a preflight.
_MAX_AGE = b"600"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
# Headers that a page may read besides the standard ones.
_EXPOSED = b"x-request-id, request-id, retry-after, x-should-retry, x-tandem-speculation"
_NAMES = re.compile(rb"[\w.,\s-]{1,2048}\Z")


class Cors:
    """Answers preflights of listed origins, before keys are checked, and marks every answer to them.

    Without origins every request passes as it is.
    """

    def __init__(self, app: Application, origins: frozenset[bytes]) -> None:
        self._app = app
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.origins:
            await self._app(scope, receive, send)
            return
        origin = header(scope["headers"], b"origin")
        listed = origin in self.origins
        if listed and scope["method"] == "OPTIONS" and header(scope["headers"], b"access-control-request-method"):
            await send({"type": "http.response.start", "status": 204, "headers": _preflight(origin, scope["headers"])})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        # Caches must know that the answer depends on the origin.
        marks = [(b"vary", b"origin")]
        if listed:
            marks += [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED)]

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *marks]
            await send(message)

        await self._app(scope, receive, send_marked)


def _preflight(origin: bytes, headers: Headers) -> Headers:
    names = header(headers, b"access-control-request-headers")
    allowed = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", _MAX_AGE),
        (b"vary", b"origin, access-control-request-headers"),
    ]
    # SDKs send many of their own (x-stainless-*), and `*` would not cover Authorization.
    if _NAMES.match(names):
        allowed.append((b"access-control-allow-headers", names))
    # Sent by a page of a public site that calls a machine at home.
    if header(headers, b"access-control-request-private-network") == b"true":
        allowed.append((b"access-control-allow-private-network", b"true"))
    return allowed
