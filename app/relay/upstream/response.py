"""An upstream's response: headers, and its body as it arrives or assembled to one piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from app.relay.buffered.assembler import Assembly
from app.relay.response.usage import UsageTap
from app.relay.turns import parts_in_turns
from app.relay.upstream.connection import Connection, IncompleteResponseError
from app.relay.upstream.destination import Destination
from app.relay.upstream.pool import Pool

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
# Headers of a stream that a whole answer replaces or lacks
_OF_STREAMS = frozenset((b"content-type", b"transfer-encoding", b"cache-control", b"x-accel-buffering"))


class UpstreamResponse:
    """A response whose headers are here. `close` gives the connection back, at any time."""

    __slots__ = ("_connection", "_destination", "_pool", "_whole", "content_type", "raw_headers", "status")

    def __init__(self, connection: Connection, pool: Pool, destination: Destination) -> None:
        self._connection: Connection | None = connection
        self._pool = pool
        self._destination = destination
        self._whole: bytes | None = None
        self.status = connection.status
        self.raw_headers = connection.headers
        self.content_type = next((v for name, v in connection.headers if name.lower() == b"content-type"), b"")

    async def chunk(self) -> bytes:
        """Returns the next bytes of the body, or b"" at its end. Raises UpstreamDiedError if it ends too early."""
        if self._whole is not None:
            whole, self._whole = self._whole, b""
            return whole
        if self._connection is None:
            return b""
        try:
            return await self._connection.read()
        except IncompleteResponseError as error:
            raise await self._destination.died(error) from error

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterates over the body as it arrives. Raises UpstreamDiedError if it ends too early."""
        return _Chunks(self)

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """Gives `take` the body's bytes as they arrive; returns at its end, or when `take` declines some.

        `chunk` has those that were declined.
        """
        if self._connection is not None and self._whole is None:
            await self._connection.hand_over(take)

    async def assemble(self, listen: Callable[[], UsageTap], per_prompt: int = 1) -> bool:
        """Reads a stream to its end and turns the response into an answer in one piece, or the error in the stream.

        `per_prompt` is the number of choices per prompt. The tap from `listen` gets the stream. Returns False if the
        stream may lack a part of the answer. A response that is no stream (an early error) stays unchanged. Raises
        UpstreamDiedError.
        """
        if self.status != 200 or not self.content_type.startswith(EVENT_STREAM):
            return True
        assembly, usage_tap = Assembly(per_prompt), listen()
        usage_tap.tally = assembly
        try:
            async for chunk in self.chunks():
                async for part in parts_in_turns(chunk):
                    assembly.feed(part)
                usage_tap.feed(chunk)
            whole = assembly.whole()
            if whole is None:
                raise await self._destination.died(IncompleteResponseError("ended its answer early"))
        except BaseException:
            self.close()  # The engine notices at its next write
            raise
        self.status, self._whole, self.content_type = whole.status, whole.body, JSON
        headers = [(name, value) for name, value in self.raw_headers if name.lower() not in _OF_STREAMS]
        self.raw_headers = [
            *headers,
            (b"Content-Type", JSON + b"; charset=utf-8"),
            (b"Content-Length", str(len(whole.body)).encode()),
        ]
        return whole.in_full

    async def read(self) -> bytes:
        """Returns the whole body of an error response, which is then rewritten."""
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        """Gives the connection back. Cuts an unfinished response, which makes llama-server stop generating."""
        if self._connection is not None:
            self._pool.give_back(self._connection)
            self._connection = None


class _Chunks:
    """Iterates over `chunk`. A generator would add a frame for every event."""

    __slots__ = ("_response",)

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await self._response.chunk():
            return chunk
        raise StopAsyncIteration
