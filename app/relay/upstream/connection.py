"""One HTTP/1.1 connection to an upstream. Requests go out as bytes; only the framing of responses is parsed.

llhttp parses them (httptools, which uvicorn uses for our clients). The relay needs no more of an HTTP client. A
complete client took twice the CPU per request (docs/adr/0002-upstream-connections.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from app.relay.headers import Headers

# Limit for a response's status line and headers, including 1xx responses before it.
HEAD_BYTES = 65536
# Bytes of a response that may wait here for a slow client. After that the server has to wait.
HIGH_WATER = 262144
_WITHOUT_A_WORD = "closed the connection before it answered"
_CUT_SHORT = "ended its answer early"
_RESET = "reset the connection"
_NOT_HTTP = "answered with something that is not HTTP/1.1"
_HUGE_HEAD = f"answered with headers of more than {HEAD_BYTES} bytes"


class IncompleteResponseError(Exception):
    """The server did not complete its response. The text says what it did, and follows the server's name."""


class Connection(asyncio.Protocol):
    """Made by a pool, which gets its end through `on_lost`. One request at a time: `ask`, then `read` to the end."""

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self._on_lost = on_lost
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        # The current response: its head, the part of its body that is unread, and how it ended
        self.status = 0
        self.headers: Headers = []
        self._request_sent = self._headed = self._informational = False
        self._head_bytes = 0
        self._received: list[bytes] = []
        self._size = 0
        # Gets the body's bytes before they are kept for `read`
        self._take: Callable[[bytes], bool] | None = None
        self._paused = False
        # Whether all bytes have arrived. `ended` tells whether they have been read too.
        self._complete = False
        self._to_the_end = False
        self._keeps_alive = False
        self._fault: str | None = None
        # Loop time of the last use
        self.idle_since = 0.0
        self.lost = False

    # -- For callers -------------------------------------------------------------------------------------------

    async def ask(self, head: bytes, body: bytes | None) -> None:
        """Sends a request and returns once `status` and `headers` have come. Raises IncompleteResponseError."""
        self._request_sent, self._headed, self._complete, self._to_the_end = True, False, False, False
        self._head_bytes = 0
        if body is None or len(body) < HEAD_BYTES:
            self._transport.write(head + body if body else head)
        else:
            self._transport.writelines((head, body))  # Two writes, so that a body of 64 MB is not copied
        while not self._headed:
            if self._fault is not None:
                raise IncompleteResponseError(self._fault)
            await self._wait()

    async def read(self) -> bytes:
        """Returns at least one byte of the body, or b"" at its end.

        Raises IncompleteResponseError if the body is cut.
        """
        while not self._received:
            if self._complete:
                return b""
            if self._fault is not None:
                raise IncompleteResponseError(self._fault)
            await self._wait()
        received = self._received
        data = received[0] if len(received) == 1 else b"".join(received)
        received.clear()
        self._size = 0
        if self._paused and self.is_open:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """Calls `take` with what arrives, on its arrival; returns when it gives False, or at the body's end.

        `take` may not raise. What it has declined, and how the body has ended, is for `read` to tell.
        """
        if self._received or self._complete or self._fault is not None:
            return
        self._take = take
        try:
            await self._wait()
        finally:
            self._take = None

    @property
    def reusable(self) -> bool:
        """Tells whether the response has been read to its end and another request may follow."""
        return (
            self._complete
            and not self._received
            and self._keeps_alive
            and not self._transport.is_closing()
            and self._transport.get_write_buffer_size() == 0
        )

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def abort(self) -> None:
        """Cuts the connection at any time. llama-server stops generating when it notices."""
        self._to_the_end = False
        self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- For the transport -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # The transport of uvloop is no subclass

    def data_received(self, data: bytes) -> None:
        if not self._request_sent or self._complete:
            self._transport.abort()  # Bytes without a request would be taken for the next response
            return
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                self._fail(_NOT_HTTP)
            self._transport.abort()
        if self._take is not None:
            received = self._received
            if not received or self._take(received[0] if len(received) == 1 else b"".join(received)):
                received.clear()
                self._size = 0
                if not self._complete and self._fault is None:
                    return
            self._take = None
        if not self._headed and self._head_bytes > HEAD_BYTES:
            self._fail(_HUGE_HEAD)
            self._transport.abort()
        if self._size > HIGH_WATER and not self._paused and self.is_open:
            self._paused = True
            self._transport.pause_reading()
        self._notify()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._to_the_end and exc is None:
            self._complete = True
        elif not self._complete:
            self._fail(_RESET if exc is not None else _CUT_SHORT if self._headed else _WITHOUT_A_WORD)
        self._notify()
        self._on_lost(self)

    def _fail(self, how: str) -> None:
        if self._fault is None:
            self._fault = how

    # -- For the parser ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("a second answer to one request")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # The time for trailers is over
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._informational = 100 <= self.status < 200
        if not self._informational:
            self._headed = True
            self._keeps_alive = self._parser.should_keep_alive()
            self._to_the_end = not self._keeps_alive and not _is_framed(self.status, self.headers)

    def on_body(self, body: bytes) -> None:
        self._received.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        self._complete = not self._informational


def _is_framed(status: int, headers: Headers) -> bool:
    """Tells whether the end of the body is marked. If not, the connection ends it (RFC 9112, section 6.3)."""
    if status in (204, 304):
        return True
    for name, value in headers:
        name = name.lower()
        if name == b"content-length" or (name == b"transfer-encoding" and value.lower().endswith(b"chunked")):
            return True
    return False
