"""A server of numbered streams for the relay's soak, as a process: `python -m tests.support.paced_upstream`.

It prints its port. Each event says when it was sent, by a clock that all processes of a machine share. A body has
`max_tokens` and `events_per_second`. An answer in one piece says how long the body was.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Answering(asyncio.Protocol):
    """One connection with one request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._received: list[bytes] = []
        self._size = self._ends = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sent = self._count = 0
        self._pause = 0.0
        self._reads = asyncio.Event()
        self._reads.set()

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        self._size += len(data)
        if not self._ends:
            begin = b"".join(self._received)
            head_ends = begin.find(b"\r\n\r\n")
            if head_ends < 0:
                return
            length = _LENGTH.search(begin, 0, head_ends)
            self._ends = head_ends + 4 + (int(length[1]) if length else 0)
        if self._size >= self._ends:
            self._answer(b"".join(self._received))

    def _answer(self, request: bytes) -> None:
        self._received, self._size, self._ends = [], 0, 0
        head, _, body = request.partition(b"\r\n\r\n")
        asked = json.loads(body) if head.startswith(b"POST") else {}
        if not asked.get("stream"):
            answer = json.dumps({"choices": [], "bytes": len(body)}).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            self._transport.write(head + answer)
            return
        self._sent, self._count, self._pause = 0, asked["max_tokens"], 1 / asked["events_per_second"]
        self._transport.write(_HEAD)
        self._due = asyncio.get_running_loop().time()
        self._next()

    def _next(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._reads.is_set():
            self._timer = loop.call_later(0.05, self._next)
            return
        if self._sent == self._count:
            self._transport.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            return
        delta = {"content": f"t{self._sent}"}
        event = {"choices": [{"index": 0, "delta": delta}], "sent": time.monotonic()}
        self._transport.write(_chunk(b"data: " + json.dumps(event).encode() + b"\n\n"))
        self._sent += 1
        self._due += self._pause
        self._timer = loop.call_at(self._due, self._next)

    def pause_writing(self) -> None:
        self._reads.clear()

    def resume_writing(self) -> None:
        self._reads.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
