"""What a client gets: a status once, bytes, and an end that is never a lie. Keeps the request's record of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from app.relay.headers import Headers
from app.relay.record import RequestRecord
from app.relay.request.body import Message

Send = Callable[[Message], Awaitable[None]]


class StreamAbortedError(Exception):
    """Raised on purpose once an answer has begun: uvicorn then breaks the connection, never a clean end."""


class ResponseWriter:
    """A request's way out, over ASGI's `send`."""

    __slots__ = ("_record", "_send")

    def __init__(self, record: RequestRecord, send: Send) -> None:
        self._record = record
        self._send = send

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        record = self._record
        record.started, record.status = True, status
        record.spoken = asyncio.get_running_loop().time()
        return self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, chunk: bytes) -> Awaitable[None]:
        return self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    def end(self, last: bytes = b"") -> Awaitable[None]:
        self._record.ended = True
        return self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def break_off(self, event: bytes, error: Exception | None, status: int = 502) -> NoReturn:
        """The last words, then an aborted connection: a clean end would be a lie. `status` is what is recorded."""
        record = self._record
        record.status, record.failure, record.ended = status, error, True
        if event:
            await self.write(event)
        raise StreamAbortedError(str(error or "the upstream refused"))

    async def refuse(self, error: Exception) -> None:
        """An error instead of an answer."""
        response = self._record.api_format.error(error, request_id=self._record.request_id)
        self._record.ended = True
        await self.start(response.status, response.headers)
        await self.end(response.body)
