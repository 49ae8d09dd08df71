"""The relay's way to a server behind it: a lease, one HTTP request, an answer that gives both back."""

from __future__ import annotations

from collections.abc import Callable

from app import logs
from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.speculation import NONE
from app.errors import LogprobsRefusedError, UpstreamError, UpstreamKeyRefusedError, UpstreamUnreachableError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.pulls.on_demand import OnDemand
from app.relay.buffered.eligibility import as_stream
from app.relay.headers import for_upstream, request_head
from app.relay.request import multipart as form
from app.relay.request.json_edit import with_model
from app.relay.request.parse import Call
from app.relay.response.usage import UsageTap
from app.relay.upstream.connection import Connection, IncompleteResponseError
from app.relay.upstream.pool import CONNECT_S, ConnectFailedError, Origin, Pool
from app.relay.upstream.response import UpstreamResponse, died, host_of, name_of
from app.scheduler.lease import Lease
from app.scheduler.loop import Scheduler
from app.scheduler.queue import Ticket
from app.supervisor.states import EngineState

log = logs.get_logger("relay")
# What an engine answers beside its slots
_SLOTLESS = ("/tokenize", "/detokenize", "/apply-template", "/input_tokens", "/count_tokens")

# So many may be gone, one after another, before a request is given up
_ENGINES = 3


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

    async def enter(
        self, call: Call, listen: Callable[[], UsageTap] = UsageTap, ticket: Ticket | None = None
    ) -> UpstreamResponse:
        """The answer's headers, or of our own engines the whole of an answer that is not streamed.

        `ticket` says whose turn it is. What `listen` gives then gets what that is put together from: all that is known
        if the client leaves first. An engine that takes no connection was not asked anything, so the request goes
        to the next one. Raises EngineUnavailable, UpstreamError or LogprobsRefusedError, and then holds nothing.
        """
        ticket = ticket or Ticket()
        for _ in range(_ENGINES - 1):
            try:
                return await self._enter(call, listen, ticket)
            except UpstreamUnreachableError as error:
                if isinstance(call.ref.entry, AttachedEntry):
                    raise
                log.info(f"asking again: {error}", alias=call.ref.name, request_id=call.request_id)
        return await self._enter(call, listen, ticket)

    async def _enter(self, call: Call, listen: Callable[[], UsageTap], ticket: Ticket) -> UpstreamResponse:
        ref, entry = call.ref, call.ref.entry
        if isinstance(entry, AttachedEntry):
            key = entry.api_key.get_secret_value() if entry.api_key else None
            lease = Lease(ref.name, entry.url, key, None, _nothing)
            body = call.body
            # A preset is ours: without a name of its own the server knows that of the entry alone
            theirs = entry.model or (ref.alias if ref.preset else None)
            if body and theirs and not call.by_query:
                body = _renamed(body, call.boundary, theirs)
        else:
            if entry.speculation.auto:
                ref = self._by_load(ref)
            if entry.pull == "on_demand" and not self._scheduler.status(ref).up:
                await self._on_demand.ensure(ref, patient=call.streaming)
            ticket.takes_slot = takes_slot(call)
            lease, body = await self._scheduler.lease(ref, call.body, ticket), call.body
        streamed = None
        if lease.engine is not None and not call.streaming:
            status = lease.engine.speculation
            streamed = as_stream(call.target, body, drafts=status is not None and status.mode != NONE)
        try:
            if call.logprobs and isinstance(entry, LocalEntry) and entry.speculation.on_logprobs != "pass":
                _refuse_under_speculation(lease, self._catalog.plain(ref).name)
            once = call.streaming or streamed is not None
            connection = await self._request(call, lease, streamed or body, once=once)
            response = UpstreamResponse(connection, self._pool, lease, lease.in_flight)
            if response.status == 401 and lease.engine is None:
                response.close()
                raise UpstreamKeyRefusedError(lease.alias, host_of(lease), key_sent=lease.key is not None)
            if streamed is not None and not await response.assemble(listen):
                response.hang_up()
                connection = await self._request(call, lease, body, once=False)
                response = UpstreamResponse(connection, self._pool, lease, lease.in_flight)
            return response
        except BaseException:
            lease.release()
            raise

    def unload_unless_used(self, ref: ModelRef, client: str) -> bool:
        """Unloads the model's engine unless others need it; whether it is unloaded, or about to be."""
        return isinstance(ref.entry, LocalEntry) and self._scheduler.verbs.unload_unless_used(ref, client)

    def waiting_for(self, ref: ModelRef, ticket: Ticket | None = None) -> str:
        """What a request waits for that has no answer yet, in words."""
        engine = self._scheduler.status(ref)
        if (loading := engine.loading) is not None:
            return f"waiting for the engine, which is loading: {loading.words()}"
        if ticket is not None and (before := ticket.before) is not None:
            return f"waiting, {before} before you" + ("" if engine.up else ", for a place")
        return self._on_demand.waiting_for(ref)

    def _by_load(self, ref: ModelRef) -> ModelRef:
        """Where the drafted and the plain engine of an `auto` alias are both up: the one that is faster in company."""
        crossing, beside = self.crossings.get(ref.engine_key), self._catalog.plain(ref)
        if crossing is None or beside == ref:
            return ref
        drafted, plain = self._scheduler.status(ref), self._scheduler.status(beside)
        both_up = drafted.state is EngineState.READY and plain.state is EngineState.READY
        return beside if both_up and drafted.in_flight + plain.in_flight + 1 >= crossing else ref

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
        except ConnectFailedError as error:
            raise await self._unreachable(lease, str(error)) from error
        except TimeoutError as error:
            raise await died(
                lease, IncompleteResponseError(f"did not accept a connection within {CONNECT_S:g} s")
            ) from error
        try:
            await connection.ask(head, body)
        except IncompleteResponseError as error:
            self._pool.give_back(connection)
            raise await died(lease, error) from error
        except BaseException:
            self._pool.give_back(connection)
            raise
        return connection

    async def _unreachable(self, lease: Lease, reason: str) -> UpstreamError:
        diagnosis = await lease.post_mortem()
        if lease.engine is not None and diagnosis is None:
            await lease.engine.unresponsive(lease.key)
        return UpstreamUnreachableError(f"{name_of(lease)} cannot be reached: {diagnosis or reason}", diagnosis)

    def _origin(self, url: str) -> Origin:
        """Engines get new ports now and then, so that not all of them are kept for ever."""
        origin = self._origins.get(url)
        if origin is None:
            if len(self._origins) >= 1024:
                self._origins.clear()
            origin = self._origins[url] = Origin.of(url)
        return origin


def takes_slot(call: Call) -> bool:
    """Whether the engine decodes or embeds for it."""
    return not call.by_query and not call.target.partition("?")[0].endswith(_SLOTLESS)


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
        raise LogprobsRefusedError(
            f"Log probabilities would be wrong: '{lease.alias}' decodes with {status.mode}, and llama-server reports "
            f"0.0 for drafted tokens. {ways}."
        )


def _nothing() -> None:
    """An attached server counts no leases."""
