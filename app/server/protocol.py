"""Limits what one connection may take: uvicorn's HTTP protocol with limits that uvicorn lacks.

It is below every API. A request refused here has not named its API yet, so the error has OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import httptools
import msgspec

from app.server.coalesce import HeadWithBody
from app.server.direct_send import DirectSend
from app.server.uvicorn_parts import HttpToolsProtocol, RequestResponseCycle

_NOT_HTTP = "This is not valid HTTP/1.1."
# Headers that offer another protocol on this connection (RFC 9110, section 7.8).
_OFFER = frozenset((b"connection", b"upgrade", b"http2-settings"))
# Descriptors for other purposes: engines' pipes, the ledger, the log.
RESERVED = 256


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bytes and seconds."""

    # Request line and headers. The cookies and tokens of agents are well below.
    head_bytes: int = 65536
    # From the start of a connection, or a request's first byte, to its last header.
    head_s: float = 20
    # From the last header to the last byte of the body.
    body_s: float = 300
    # The time for which a client may read nothing of a waiting answer. An engine's slot waits with it.
    unread_s: float = 60
    # After an answer that came before the whole body: the time in which the rest is discarded, so that the client sees
    # it.
    linger_s: float = 2
    connections: int = 10_000


def affordable(connections: int) -> int:
    """Returns how many connections the descriptors allow, with two each. Raises the soft limit if possible."""
    needed = 2 * connections + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):  # macOS has another limit, which it does not report
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return max(1, min(connections, (soft - RESERVED) // 2))


class Connections:
    """All open connections. Idle ones are in the order in which they became idle."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open = 0
        self._idle: dict[LimitedProtocol, None] = {}

    def __repr__(self) -> str:
        return f"<Connections {self._open} open, {len(self._idle)} idle>"

    def opened(self, connection: LimitedProtocol) -> bool:
        """Adds a connection and returns whether there is room. The longest idle connection may be closed for it."""
        self._open += 1
        if self._open > self.limits.connections:
            longest = next(iter(self._idle), None)
            if longest is None:
                return False
            self.busy(longest)
            longest.transport.abort()
        self._idle[connection] = None
        return True

    def busy(self, connection: LimitedProtocol) -> None:
        self._idle.pop(connection, None)

    def idle(self, connection: LimitedProtocol) -> None:
        self._idle[connection] = None

    def closed(self, connection: LimitedProtocol) -> None:
        self._open -= 1
        self.busy(connection)


class _UntilClose(int):
    """A length longer than any body, for uvicorn's count of the remaining bytes."""

    def __lt__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return False

    def __sub__(self, other: object) -> _UntilClose:
        return self

    __eq__, __hash__ = int.__eq__, int.__hash__


_UNTIL_CLOSE = _UntilClose()


class _Phase(Enum):
    """The part of a request that is expected next."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class LimitedProtocol(HttpToolsProtocol):
    """One connection. `connections` are all of the server's."""

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections
        # State of the current request
        self._phase = _Phase.NOTHING
        self._head_bytes = 0
        self._line = b""
        self._too_large = False
        # Deadlines for the current request, and for a client that does not read
        self._deadline: asyncio.TimerHandle | None = None
        self._timed = _Phase.NOTHING
        self._unread: asyncio.TimerHandle | None = None

    @property
    def _limits(self) -> ConnectionLimits:
        """The current limits, which a reload may change."""
        return self._connections.limits

    # -- The connection ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_with_body = HeadWithBody(transport, self.loop)
        super().connection_made(self._head_with_body)  # type: ignore[arg-type]
        if self._connections.opened(self):
            self._await(_Phase.HEAD, self._limits.head_s)
        else:
            self._refuse(503, "too_many_connections", "The gateway has no connection left; try again in a moment.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse_head() if self._too_large else self._refuse(400, "invalid_http", _NOT_HTTP)
            return
        if self.transport.is_closing():
            return
        if self._phase is _Phase.HEAD:
            # The sums below miss a header that has not ended.
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._refuse_head()
                return
            self._await(_Phase.HEAD, self._limits.head_s)
        elif self._phase is _Phase.BODY:
            self._await(_Phase.BODY, self._limits.body_s)
        elif self._answering:
            self._stop_waiting()
        else:
            self._await(_Phase.HEAD, self._limits.head_s)  # An empty line between requests

    def _decline(self, rest: bytes) -> None:
        """Parses a request without its offer of another protocol (curl --http2 and Java's client send one).

        Otherwise the parser would take the body for that protocol: an empty body, and its bytes as the next request.
        """
        headers = [(name, value) for name, value in self.headers if name not in _OFFER]
        lines = [self._line, *(name + b": " + value for name, value in headers), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + rest)

    # -- The request, as it is parsed --------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._phase, self._head_bytes = _Phase.HEAD, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is _Phase.BODY:
            return  # A trailer, which arrives after the body has been read
        self._head_bytes += len(name) + len(value) + 4
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._head_bytes + len(self.url) > self._limits.head_bytes:
            self._too_large = True
            raise ValueError("too large a head")  # Stops the parser; data_received handles it
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise ValueError("two hosts")
        method: bytes = self.parser.get_method()
        if self.parser.should_upgrade() and method != b"CONNECT":
            self._line = method + b" " + self.url + b" HTTP/1.1"
            return
        self._phase = _Phase.BODY
        self._connections.busy(self)
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            # HTTP/1.0 has no chunks: a body of unknown length ends with the connection.
            self.cycle.chunked_encoding, self.cycle.expected_content_length = False, _UNTIL_CLOSE
        self._head_with_body.expect()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, lambda scope, receive, _: app(scope, receive, DirectSend(cycle)))

    def on_message_complete(self) -> None:
        if self._phase is _Phase.HEAD:
            return  # It is parsed again, see _decline
        self._phase = _Phase.NOTHING
        super().on_message_complete()
        if not self._answering and not self.transport.is_closing():
            # The answer came first (see below). The body has now ended, and the connection stays open.
            self._stop_waiting()
            self._connections.idle(self)
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._phase is _Phase.BODY:
            self._stop_waiting()
            self._deadline = self.loop.call_later(self._limits.linger_s, self.transport.close)
        elif not self._answering:
            self._connections.idle(self)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # -- Deadlines ---------------------------------------------------------------------------------------------

    def _await(self, phase: _Phase, seconds: float) -> None:
        """Sets the deadline of a phase once. Slow data does not extend it."""
        if self._deadline is not None and self._timed is phase:
            return
        self._stop_waiting()
        self._timed = phase
        self._deadline = self.loop.call_later(seconds, self._too_late, seconds)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self, seconds: float) -> None:
        if self._phase is _Phase.NOTHING:
            self.transport.close()  # The client never sent a byte
            return
        part = "headers" if self._phase is _Phase.HEAD else "body"
        self._refuse(408, "request_timeout", f"The request's {part} did not arrive within {seconds:g} s.")

    def _refuse_head(self) -> None:
        most = self._limits.head_bytes
        self._refuse(431, "headers_too_large", f"The request's line and headers are larger than {most} bytes.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Sends an error and closes. Cuts the connection if an answer has begun or an earlier request is unanswered."""
        if self._answering:
            if self.cycle.response_started or self._phase is not _Phase.BODY:
                self.transport.abort()
                return
            self.cycle.disconnected = True  # Drops the application's later output
            self.cycle.message_event.set()
        self.transport.write(_answer(status, code, message))
        self.transport.close()


def _answer(status: int, code: str, message: str) -> bytes:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
