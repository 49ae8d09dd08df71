"""The relay's way to a server behind it: a lease, one HTTP request, an answer that gives both back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from app.catalog import Catalog
from app.entries import AttachedEntry, LocalEntry
from app.errors import LogprobsRefused, UpstreamDied, UpstreamError, UpstreamKeyRefused, UpstreamUnreachable
from app.modes import NONE
from app.proxy import form
from app.proxy.as_stream import as_stream
from app.proxy.assemble import Assembly
from app.proxy.call import Call
from app.proxy.connection import BrokenOff, Connection
from app.proxy.fields import with_model
from app.proxy.headers import for_upstream, request_head
from app.proxy.pool import CONNECT_S, CannotConnect, Origin, Pool
from app.proxy.sse import Tap
from app.pulling.demand import OnDemand
from app.scheduler.loop import Lease, Scheduler
from app.supervisor.states import State

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
# Of a stream's headers, what a whole answer has differently or not at all
_OF_STREAMS = frozenset((b"content-type", b"transfer-encoding", b"cache-control", b"x-accel-buffering"))


class Answer:
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
        """A good answer in one piece, where speculation was asked for."""
        return (
            self.speculation is not None
            and self.speculation.requested != NONE
            and self.status == 200
            and self.content_type.startswith(JSON)
        )

    def drafted(self) -> None:
        """To be called for an answer that had drafted tokens: they prove what no warm-up can."""
        if self._lease.engine is not None:
            self._lease.engine.drafted()

    async def chunk(self) -> bytes:
        """The next bytes of the body, b"" at its end; raises UpstreamDied where that comes too early."""
        if self._whole is not None:
            whole, self._whole = self._whole, b""
            return whole
        if self._connection is None:
            return b""
        try:
            return await self._connection.read()
        except BrokenOff as error:
            raise await _died(self._lease, error) from error

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; raises UpstreamDied where it ends too early."""
        return _Chunks(self)

    async def assemble(self, listen: Callable[[], Tap], *, counted: bool) -> bool:
        """Waits for the end of a stream, and is then the answer in one piece, or the error that the stream carried.

        What `listen` gives gets the stream. False where it has not told all of it (see `as_stream`). Raises
        UpstreamDied; what is no stream (an error that came first) stays as it is.
        """
        if self.status != 200 or not self.content_type.startswith(EVENT_STREAM):
            return True
        assembly, tap = Assembly(counted=counted), listen()
        try:
            async for chunk in self.chunks():
                assembly.feed(chunk)
                tap.feed(chunk)
            whole = assembly.whole()
            if whole is None:
                raise await _died(self._lease, BrokenOff("broke off its answer"))
        except BaseException:
            self.hang_up()  # the engine learns from it at its next write
            raise
        self.status, self._whole, self.content_type = whole.status, whole.body, JSON
        kept = [(name, value) for name, value in self.raw_headers if name.lower() not in _OF_STREAMS]
        self.raw_headers = [
            *kept,
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

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await self._answer.chunk():
            return chunk
        raise StopAsyncIteration


async def abandon(opening: asyncio.Future[Answer]) -> None:
    """An answer that came in the very turn in which nobody wanted it any more is given back too."""
    opening.cancel()
    with suppress(asyncio.CancelledError, Exception):
        (await opening).close()


class Upstreams:
    """Names to answers. Close it before the engines stop: llama-server ends once its connections do."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler, on_demand: OnDemand) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._on_demand = on_demand
        self._origins: dict[str, Origin] = {}
        self._pool = Pool()
        # Requests in flight from which an `auto` alias is better served plainly, as far as traffic has measured it
        self.crossings: dict[str, int | None] = {}

    def close(self) -> None:
        """Cuts what is still connected."""
        self._pool.close()

    async def enter(self, call: Call, listen: Callable[[], Tap] = Tap) -> Answer:
        """The answer's headers, or of our own engines the whole of an answer that is not streamed.

        What `listen` gives then gets what that is put together from: all that is known if the client leaves first.
        Raises EngineUnavailable, UpstreamError or LogprobsRefused, and then holds nothing.
        """
        entry = self._catalog.entry(call.alias)
        if isinstance(entry, AttachedEntry):
            key = entry.api_key.get_secret_value() if entry.api_key else None
            lease = Lease(call.alias, entry.url, key, None, _nothing)
            body = _renamed(call.body, call.boundary, entry.model) if call.body and entry.model else call.body
        else:
            alias = self._by_load(call.alias) if entry.speculation.auto else call.alias
            if entry.pull == "on_demand" and not self._scheduler.is_up(alias):
                await self._on_demand.ensure(alias, patient=call.streaming)
            lease, body = await self._scheduler.lease(alias), call.body
        streamed = None
        if lease.engine is not None and not call.streaming:
            status = lease.engine.speculation
            streamed = as_stream(call.target, body, drafts=status is not None and status.mode != NONE)
        in_flight = self._scheduler.places[lease.alias].in_flight if lease.engine else None
        try:
            if call.logprobs and isinstance(entry, LocalEntry) and entry.speculation.on_logprobs != "pass":
                _refuse_under_speculation(lease, self._catalog.plain(lease.alias))
            once = call.streaming or streamed is not None
            connection = await self._request(call, lease, streamed.body if streamed else body, once=once)
            answer = Answer(connection, self._pool, lease, in_flight)
            if answer.status == 401 and lease.engine is None:
                answer.close()
                raise UpstreamKeyRefused(lease.alias, _host(lease), given=lease.key is not None)
            if streamed is not None and not await answer.assemble(listen, counted=streamed.counted):
                answer.hang_up()
                connection = await self._request(call, lease, body, once=False)
                answer = Answer(connection, self._pool, lease, in_flight)
            return answer
        except BaseException:
            lease.release()
            raise

    def waiting_for(self, alias: str) -> str:
        """What a request waits for that has no answer yet, in words."""
        return self._on_demand.waiting_for(alias)

    def _by_load(self, alias: str) -> str:
        """Where the drafted and the plain engine of an `auto` alias are both up: the one that is faster in company."""
        places, beside = self._scheduler.places, self._catalog.plain(alias)
        drafted, plain = places.get(alias), places.get(beside) if beside != alias else None
        crossing = self.crossings.get(alias)
        if crossing is None or drafted is None or plain is None:
            return alias
        both_up = drafted.state is State.READY and plain.state is State.READY
        return beside if both_up and drafted.in_flight + plain.in_flight + 1 >= crossing else alias

    async def _request(self, call: Call, lease: Lease, body: bytes | None, *, once: bool) -> Connection:
        """A connection on which the answer's headers have come; raises UpstreamError."""
        origin = self._origin(lease.base_url)
        head = request_head(
            call.method,
            origin.prefix + call.target,
            origin.authority,
            for_upstream(
                call.headers, key=lease.key, request_id=call.request_id, json=bool(body and not call.boundary)
            ),
            length=None if body is None else len(body),
            # llama-server closes behind a stream without having said so (b11434): the next request on that connection
            # may go out before the end is seen, and is lost. Elsewhere a new one would cost a TLS handshake.
            close=once and not origin.tls,
        )
        try:
            connection = await self._pool.connection(origin)
        except CannotConnect as error:
            raise await self._unreachable(lease, str(error)) from error
        except TimeoutError as error:
            raise await _died(lease, BrokenOff(f"did not accept a connection within {CONNECT_S:g} s")) from error
        try:
            await connection.ask(head, body)
        except BrokenOff as error:
            self._pool.give_back(connection)
            raise await _died(lease, error) from error
        except BaseException:
            self._pool.give_back(connection)
            raise
        return connection

    async def _unreachable(self, lease: Lease, reason: str) -> UpstreamError:
        diagnosis = await lease.post_mortem()
        if lease.engine is not None and diagnosis is None:
            lease.engine.unresponsive()
        what = f"The engine of '{lease.alias}'" if lease.engine else f"The server of '{lease.alias}' at {_host(lease)}"
        return UpstreamUnreachable(f"{what} cannot be reached: {diagnosis or reason}", diagnosis)

    def _origin(self, url: str) -> Origin:
        """Engines get new ports now and then, so that not all of them are kept for ever."""
        origin = self._origins.get(url)
        if origin is None:
            if len(self._origins) >= 1024:
                self._origins.clear()
            origin = self._origins[url] = Origin.of(url)
        return origin


def _renamed(body: bytes, boundary: bytes | None, name: str) -> bytes:
    return with_model(body, name) if boundary is None else form.with_model(body, boundary, name)


def _refuse_under_speculation(lease: Lease, plain: str) -> None:
    """llama-server reports 0.0 for every drafted token (b11434): wrong numbers are worse than none."""
    status = lease.engine.speculation if lease.engine else None
    # Whether it was proven to be on or not: the first token that it drafts would be the first wrong one.
    if status is not None and status.mode != NONE:
        # Another model may have the name of the plain variant.
        ways = (
            f"Ask for '{plain}', or set on_logprobs to plain or pass"
            if plain != lease.alias
            else "Set on_logprobs to pass"
        )
        raise LogprobsRefused(
            f"Log probabilities would be wrong: '{lease.alias}' decodes with {status.mode}, and llama-server reports "
            f"0.0 for drafted tokens. {ways}."
        )


def _nothing() -> None:
    """An attached server counts no leases."""


def _host(lease: Lease) -> str:
    return Origin.of(lease.base_url).authority


async def _died(lease: Lease, error: Exception) -> UpstreamDied:
    if (diagnosis := await lease.post_mortem()) is not None:
        return UpstreamDied(f"The engine of '{lease.alias}' went down while it answered: {diagnosis}", diagnosis)
    if lease.engine is not None:
        return UpstreamDied(f"The engine of '{lease.alias}' broke off its answer.")
    return UpstreamDied(f"The server of '{lease.alias}' at {_host(lease)} {error}.")
