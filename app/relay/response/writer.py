"""What a client gets: a status once, bytes, and an end that is never a lie. Keeps the exchange's record of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from app.relay.headers import Headers
from app.relay.record import Exchange
from app.relay.request.body import Message

Send = Callable[[Message], Awaitable[None]]


class StreamAborted(Exception):
    """Raised on purpose once an answer has begun: uvicorn then breaks the connection, never a clean end."""


class Reply:
    """An exchange's way out, over ASGI's `send`."""

    __slots__ = ("_exchange", "_send")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        exchange = self._exchange
        exchange.started, exchange.status = True, status
        exchange.spoken = asyncio.get_running_loop().time()
        return self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, chunk: bytes) -> Awaitable[None]:
        return self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    def end(self, last: bytes = b"") -> Awaitable[None]:
        self._exchange.ended = True
        return self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def break_off(self, event: bytes, error: Exception | None, status: int = 502) -> NoReturn:
        """The last words, then an aborted connection: a clean end would be a lie. `status` is what is recorded."""
        exchange = self._exchange
        exchange.status, exchange.failure, exchange.ended = status, error, True
        if event:
            await self.write(event)
        raise StreamAborted(str(error or "the upstream refused"))

    async def refuse(self, error: Exception) -> None:
        """An error instead of an answer."""
        told = self._exchange.surface.error(error, request_id=self._exchange.request_id)
        self._exchange.ended = True
        await self.start(told.status, told.headers)
        await self.end(told.body)
