"""Writes a response to the client over ASGI: one status, the bytes, and an honest end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from app.relay.api_format import ApiFormat
from app.relay.headers import Headers, of_request_id
from app.relay.request.body import Message

Send = Callable[[Message], Awaitable[None]]
# Writes a chunk of a stream at once; False where that cannot be, and then nothing is written
WriteNow = Callable[[bytes], bool]

# nginx's status for a client that has left. It only appears in logs and metrics.
CLIENT_LEFT = 499


class StreamAbortedError(Exception):
    """Raised on purpose after an answer has begun, so that uvicorn aborts the connection instead of ending it
    cleanly."""


class ResponseWriter:
    """Writes one response over ASGI's `send` in the client's `api_format`, and remembers what it has sent."""

    __slots__ = ("_send", "api_format", "ended", "failure", "request_id", "spoken", "started", "status")

    def __init__(self, send: Send, api_format: ApiFormat, request_id: str) -> None:
        self._send = send
        self.api_format = api_format
        self.request_id = request_id
        self.status = 0
        self.started = False
        self.ended = False
        self.failure: Exception | None = None
        # Loop time of the last byte sent before the answer's own
        self.spoken = 0.0

    @property
    def ids(self) -> Headers:
        """The request id, in the headers where the client looks for it."""
        return of_request_id(self.api_format.id_names, self.request_id)

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        self.started, self.status = True, status
        self.spoken = asyncio.get_running_loop().time()
        return self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, chunk: bytes) -> Awaitable[None]:
        return self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    def direct(self) -> WriteNow | None:
        """Once the answer has begun; None where something between here and the client changes what is sent."""
        direct: Callable[[], WriteNow | None] | None = getattr(self._send, "direct", None)
        return None if direct is None else direct()

    async def comment(self, text: str) -> None:
        """Sends a comment, which the client ignores, while the answer has not begun."""
        await self.write(self.api_format.comment(text))
        self.spoken = asyncio.get_running_loop().time()

    def end(self, last: bytes = b"") -> Awaitable[None]:
        self.ended = True
        return self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def break_off(self, event: bytes, error: Exception | None, status: int = 502) -> NoReturn:
        """Sends an error event and aborts the connection: a clean end would look like a complete answer.

        Records `status`.
        """
        self.status, self.failure, self.ended = status, error, True
        if event:
            await self.write(event)
        raise StreamAbortedError(str(error or "the upstream refused"))

    async def refuse(self, error: Exception) -> None:
        """Sends an error response."""
        self.failure, self.ended = error, True
        response = self.api_format.error(error, request_id=self.request_id)
        await self.start(response.status, response.headers)
        await self.end(response.body)
