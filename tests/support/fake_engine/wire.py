"""HTTP/1.1 on a socket, as llama-server's cpp-httplib speaks it: 5 s of idle, 100 requests a connection."""

from __future__ import annotations

import json
import os
import select
import socket
import time

IDLE_S = 5.0
REQUESTS = 100
# Between the end of a stream and that of its connection. The real one takes some 20 us, which a next request meets
# now and then; here it does always.
LINGER_S = 0.05
REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class ClientGoneError(Exception):
    """The client is not there any more."""


class Request:
    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.target = target
        self.headers = headers
        self.body = body


class Connection:
    """One client: requests in, answers out."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")
        self._left = REQUESTS
        self._linger_s = 0.0
        self.open = True

    def read(self) -> Request | None:
        """The next request; None at the end of the connection."""
        self._sock.settimeout(IDLE_S)
        line = self._file.readline()
        if not line.strip():
            return None
        self._sock.settimeout(None)
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (line := self._file.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._left -= 1
        self.open = self._left > 0 and headers.get("connection", "").lower() != "close"
        return Request(method, target, headers, self._body(headers))

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self._file.read(int(headers.get("content-length", "0")))
        parts = []
        while size := int(self._file.readline().split(b";")[0], 16):
            parts.append(self._file.read(size))
            self._file.readline()
        self._file.readline()
        return b"".join(parts)

    def answer(self, status: int, body: object, *, kind: str = "application/json; charset=utf-8") -> None:
        """A whole answer; errors close the connection, as the real one's do. str goes out as it is, else JSON."""
        data = body.encode() if isinstance(body, str) else json.dumps(body, separators=(",", ":")).encode()
        if status >= 400:
            self.open = False
        self._send(self._head(status, kind, f"Content-Length: {len(data)}") + data)

    def begin_stream(self) -> None:
        extra = "X-Accel-Buffering: no\r\nTransfer-Encoding: chunked"
        self._send(self._head(200, "text/event-stream", extra))

    def chunk(self, data: bytes) -> None:
        """One chunk of a stream; raises ClientGoneError if the client has left, as cpp-httplib does before a write."""
        if self.gone():
            raise ClientGoneError
        self._send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """And the end of the connection, whatever its headers said of keeping it (b11434); close takes a moment."""
        self._send(b"0\r\n\r\n")
        self.open = False
        self._linger_s = LINGER_S

    def _head(self, status: int, kind: str, extra: str) -> bytes:
        keep = f"Keep-Alive: timeout={IDLE_S:.0f}, max={REQUESTS}" if self.open else "Connection: close"
        return (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nServer: llama.cpp\r\nX-Process: {os.getpid()}\r\n"
            f"Access-Control-Allow-Origin: \r\nContent-Type: {kind}\r\n{extra}\r\n{keep}\r\n\r\n"
        ).encode()

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError:
            raise ClientGoneError from None

    def gone(self) -> bool:
        """Whether the client has closed; bytes of a next request are no farewell."""
        try:
            return self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def sleep(self, seconds: float) -> None:
        """Waits, or raises ClientGoneError as soon as the client closes."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._sock], [], [], left)[0]:
                return
            if self.gone():
                raise ClientGoneError
            time.sleep(min(left, 0.01))

    def close(self) -> None:
        time.sleep(self._linger_s)
        self._file.close()
        self._sock.close()


def error(status: int, message: str, kind: str) -> dict[str, object]:
    """The shape of llama-server's errors."""
    return {"error": {"code": status, "message": message, "type": kind}}
