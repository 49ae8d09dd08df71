"""What a client gets: a status once, bytes, and an end that is never a lie."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from app.relay.api_format import ApiFormat
from app.relay.headers import Headers
from app.relay.request.body import Message

Send = Callable[[Message], Awaitable[None]]
# Writes a chunk of a stream at once; False where that cannot be, and then nothing is written
WriteNow = Callable[[bytes], bool]

# nginx's number for a client that left; nobody is left to read it.
CLIENT_LEFT = 499


class StreamAbortedError(Exception):
    """Raised on purpose once an answer has begun: uvicorn then breaks the connection, never a clean end."""


class ResponseWriter:
    """A request's way out, over ASGI's `send`, in the client's `api_format`; it knows what the client was told."""

    __slots__ = ("_send", "api_format", "ended", "failure", "request_id", "spoken", "started", "status")

    def __init__(self, send: Send, api_format: ApiFormat, request_id: str) -> None:
        self._send = send
        self.api_format = api_format
        self.request_id = request_id
        self.status = 0
        self.started = False
        self.ended = False
        self.failure: Exception | None = None
        # When the client last got a byte before the answer's own, by the loop's clock
        self.spoken = 0.0

    @property
    def ids(self) -> Headers:
        """The request's id in the headers in which the client looks for it."""
        encoded = self.request_id.encode("latin-1")
        return [(name, encoded) for name in self.api_format.id_names]

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
        """Bytes that the client ignores, while it waits for the answer's own."""
        await self.write(self.api_format.comment(text))
        self.spoken = asyncio.get_running_loop().time()

    def end(self, last: bytes = b"") -> Awaitable[None]:
        self.ended = True
        return self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def break_off(self, event: bytes, error: Exception | None, status: int = 502) -> NoReturn:
        """The last words, then an aborted connection: a clean end would be a lie. `status` is what is recorded."""
        self.status, self.failure, self.ended = status, error, True
        if event:
            await self.write(event)
        raise StreamAbortedError(str(error or "the upstream refused"))

    async def refuse(self, error: Exception) -> None:
        """An error instead of an answer."""
        self.failure, self.ended = error, True
        response = self.api_format.error(error, request_id=self.request_id)
        await self.start(response.status, response.headers)
        await self.end(response.body)
