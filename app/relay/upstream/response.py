"""An upstream's answer: its headers, its bytes as they come, or all of them put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from app.errors import UpstreamDiedError
from app.relay.buffered.assembler import Assembly
from app.relay.response.usage import UsageTap
from app.relay.upstream.connection import Connection, IncompleteResponseError
from app.relay.upstream.pool import Origin, Pool
from app.scheduler.lease import Lease

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
# Of a stream's headers, what a whole answer has differently or not at all
_OF_STREAMS = frozenset((b"content-type", b"transfer-encoding", b"cache-control", b"x-accel-buffering"))


class UpstreamResponse:
    """An upstream's answer whose headers are here; `close` gives connection and lease back, at any time."""

    __slots__ = (
        "_connection",
        "_lease",
        "_pool",
        "_whole",
        "content_type",
        "in_flight",
        "raw_headers",
        "speculation",
        "status",
    )

    def __init__(self, connection: Connection, pool: Pool, lease: Lease, in_flight: int | None = None) -> None:
        self._connection: Connection | None = connection
        self._pool = pool
        self._lease = lease
        self._whole: bytes | None = None
        self.status = connection.status
        self.raw_headers = connection.headers
        self.content_type = next((v for name, v in connection.headers if name.lower() == b"content-type"), b"")
        # Of our own engines: what decodes, and how many requests were with it when this one was sent.
        self.speculation = lease.engine.speculation if lease.engine else None
        self.in_flight = in_flight

    @property
    def mode(self) -> str | None:
        """The mode that decodes, `none` for plain; None for a server of others."""
        return self.speculation.mode if self.speculation else None

    @property
    def tells_of_speculation(self) -> bool:
        """A good answer in one piece from an engine of ours: what it drafted stands at its end."""
        return self.speculation is not None and self.status == 200 and self.content_type.startswith(JSON)

    def answered(self) -> None:
        """To be called for an answer that came whole."""
        if self.status < 500:
            self._lease.answered()

    def drafted(self) -> None:
        """To be called for an answer that had drafted tokens: they prove what no warm-up can."""
        if self._lease.engine is not None:
            self._lease.engine.drafted()

    async def chunk(self) -> bytes:
        """The next bytes of the body, b"" at its end; raises UpstreamDiedError where that comes too early."""
        if self._whole is not None:
            whole, self._whole = self._whole, b""
            return whole
        if self._connection is None:
            return b""
        try:
            return await self._connection.read()
        except IncompleteResponseError as error:
            raise await died(self._lease, error) from error

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; raises UpstreamDiedError where it ends too early."""
        return _Chunks(self)

    async def assemble(self, listen: Callable[[], UsageTap]) -> bool:
        """Waits for the end of a stream, and is then the answer in one piece, or the error that the stream carried.

        What `listen` gives gets the stream. False where the stream has not told all of it. Raises UpstreamDiedError;
        what is no stream (an error that came first) stays as it is.
        """
        if self.status != 200 or not self.content_type.startswith(EVENT_STREAM):
            return True
        assembly, usage_tap = Assembly(), listen()
        try:
            async for chunk in self.chunks():
                assembly.feed(chunk)
                usage_tap.feed(chunk)
            whole = assembly.whole()
            if whole is None:
                raise await died(self._lease, IncompleteResponseError("broke off its answer"))
        except BaseException:
            self.hang_up()  # the engine learns from it at its next write
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
        """The whole body, of an error that is to be told in other words."""
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        self.hang_up()
        self._lease.release()

    def hang_up(self) -> None:
        """An unfinished answer is cut, which is how llama-server learns to stop; the lease is kept."""
        if self._connection is not None:
            self._pool.give_back(self._connection)
            self._connection = None


class _Chunks:
    """An answer's `chunk` as an iterator: a generator would cost another frame for every event."""

    __slots__ = ("_response",)

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await self._response.chunk():
            return chunk
        raise StopAsyncIteration


async def abandon(opening: asyncio.Future[UpstreamResponse]) -> None:
    """An answer that came in the very turn in which nobody wanted it any more is given back too."""
    opening.cancel()
    with suppress(asyncio.CancelledError, Exception):
        (await opening).close()


def name_of(lease: Lease) -> str:
    """Who answers, at the beginning of a sentence."""
    return f"The engine of '{lease.alias}'" if lease.engine else f"The server of '{lease.alias}' at {host_of(lease)}"


def host_of(lease: Lease) -> str:
    return Origin.of(lease.base_url).authority


async def died(lease: Lease, error: Exception) -> UpstreamDiedError:
    """What to tell of a server that did not end its answer; `error` says what it did."""
    if lease.cut is not None:
        return UpstreamDiedError(str(lease.cut))
    if (diagnosis := await lease.post_mortem()) is not None:
        return UpstreamDiedError(f"{name_of(lease)} went down while it answered: {diagnosis}", diagnosis)
    return UpstreamDiedError(f"{name_of(lease)} {'broke off its answer' if lease.engine else error}.")
