"""The load generator: a process of its own that keeps N connections busy with a fixed number of requests.

`python -m benchmarks.load '{"port": ..., ...}'` prints one line of JSON, or says on stderr what went wrong
and exits with 1. It reads answers only as far as it must to know that they are whole.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

import msgspec
import uvloop

PATH = "/v1/chat/completions"
# What the last bytes of a whole stream hold, by API.
_ENDS = {PATH: b"data: [DONE]", "/v1/messages": b"message_stop", "/v1/responses": b"predicted_per_second"}
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CONNECT_TIMEOUT_S = 10.0


class Load(msgspec.Struct):
    """`requests` in all, spread over `connections`; `events` in each stream, 0 for an answer in one piece."""

    port: int
    connections: int
    requests: int
    events: int = 0
    events_per_second: float = 0.0
    path: str = PATH
    model: str = "bench"


class Outcome(msgspec.Struct):
    """`seconds` from the first request sent to the last answer received."""

    requests: int
    seconds: float


class BadAnswerError(Exception):
    """The answer was not the one that the upstream's script says."""


def request_bytes(
    port: int, events: int = 0, events_per_second: float = 0.0, path: str = PATH, model: str = "bench"
) -> bytes:
    """One completion as a client of the path's API would send it."""
    responses = path == "/v1/responses"
    prompt = "input" if responses else "messages"
    body: dict[str, object] = {"model": model, prompt: [{"role": "user", "content": "What is a tandem?"}]}
    if events:
        limit = "max_output_tokens" if responses else "max_tokens"
        body |= {"stream": True, limit: events, "events_per_second": events_per_second}
    encoded = msgspec.json.encode(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nUser-Agent: benchmarks\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


class _Run:
    """What all connections share."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.request = request_bytes(load.port, load.events, load.events_per_second, load.path, load.model)
        self.unsent = self.unanswered = load.requests
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self) -> bool:
        self.unsent -= 1
        return self.unsent >= 0

    def answered(self) -> None:
        self.unanswered -= 1
        if self.unanswered == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(BadAnswerError(why))


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._streams = run.load.events > 0
        self._last = _ENDS[run.load.path]
        self._busy = False
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def send(self) -> None:
        """The next request, if there is one left."""
        self._received, self._ends = b"", 0
        self._busy = self._run.take()
        if self._busy:
            self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._streams:
            if self._ends == 0:
                self._check_status()
                self._ends = 1
            # The end is all that matters of what came; searching all of it would cost more than relaying it.
            self._received = self._received[-64:]
            if self._received.endswith(b"\r\n0\r\n\r\n"):
                self._whole(self._last in self._received)
        else:
            self._ends = self._ends or self._end()
            if self._ends and len(self._received) >= self._ends:
                self._whole(self._received.endswith(b"}"))

    def _end(self) -> int:
        """Where the answer ends, 0 while its head is still under way."""
        head_ends = self._received.find(b"\r\n\r\n")
        if head_ends < 0:
            return 0
        self._check_status()
        length = _CONTENT_LENGTH.search(self._received, 0, head_ends)
        if length is None:
            self._run.fail("an answer in one piece came without Content-Length")
            return 0
        return head_ends + 4 + int(length[1])

    def _check_status(self) -> None:
        if not self._received.startswith(b"HTTP/1.1 200 "):
            self._run.fail(f"not a 200: {self._received[:400]!r}")

    def _whole(self, honest: bool) -> None:
        if not honest:
            self._run.fail(f"an answer ended oddly: {self._received[-80:]!r}")
            return
        self._run.answered()
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._run.fail(f"the connection ended within an answer ({exc or 'closed'})")


async def run(load: Load) -> Outcome:
    """Raises BadAnswerError, or OSError where nobody listens."""
    loop = asyncio.get_running_loop()
    shared = _Run(load)
    connections = []
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        for _ in range(load.connections):
            _, connection = await loop.create_connection(lambda: _Connection(shared), "127.0.0.1", load.port)
            connections.append(connection)
    began = time.perf_counter()
    for connection in connections:
        connection.send()
    await shared.done
    return Outcome(requests=load.requests, seconds=time.perf_counter() - began)


def main() -> int:
    load = msgspec.json.decode(sys.argv[1], type=Load)
    try:
        outcome = uvloop.run(run(load))
    except (BadAnswerError, OSError, TimeoutError) as error:
        print(error or type(error).__name__, file=sys.stderr)
        return 1
    print(msgspec.json.encode(outcome).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
