"""The transport of the gateway's HTTP clients. Every connection that is lost raises an `httpx2.HTTPError`."""

from __future__ import annotations

import httpx2


class GatewayTransport(httpx2.AsyncHTTPTransport):
    """Reads no environment.

    On uvloop a peer that closes just after the connect leaves a stream without a socket. httpcore2 2.16 and anyio 4.16
    then raise AttributeError, which no caller expects.
    """

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except (AttributeError, RuntimeError, ExceptionGroup) as error:
            raise httpx2.ConnectError(f"the connection was lost: {error}", request=request) from error
