"""One connection, blocking: for latencies, where an event loop of ours would only add its own noise."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass

import msgspec

from benchmarks.load import PATH, BadAnswerError

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_READ_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds from the first byte sent."""

    first_event: float
    whole: float
    status: int


class Client:
    """One keep-alive connection; raises OSError where nobody listens, BadAnswerError where an answer breaks off."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_READ_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def record(self, request: bytes) -> Timed:
        """`first_event` is when the first SSE event has begun; the whole answer's time where there is none."""
        began = time.perf_counter()
        self._socket.sendall(request)
        received, first = b"", None
        while not _is_whole(received):
            data = self._socket.recv(65536)
            if not data:
                raise BadAnswerError(f"the connection ended within an answer: {received[-200:]!r}")
            received += data
            if first is None and b"data: " in received:
                first = time.perf_counter() - began
        whole = time.perf_counter() - began
        return Timed(first if first is not None else whole, whole, int(received[9:12]))


def _is_whole(received: bytes) -> bool:
    head_ends = received.find(b"\r\n\r\n")
    if head_ends < 0:
        return False
    length = _CONTENT_LENGTH.search(received, 0, head_ends)
    if length is None:
        return received.endswith(b"\r\n0\r\n\r\n")
    return len(received) >= head_ends + 4 + int(length[1])


def get(port: int, path: str) -> int:
    """The status of a GET on a connection of its own; 0 where nobody listens."""
    try:
        with Client(port) as client:
            return client.record(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()).status
    except (OSError, BadAnswerError):
        return 0


def one_token(port: int, model: str) -> bytes:
    """The smallest chat completion there is."""
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
