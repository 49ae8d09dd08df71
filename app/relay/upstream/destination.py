"""Where a request goes: an engine of ours, on a lease, or a server that others run.

destination.release()           gives back what is held of it
destination.base_url, .key      how it is asked
await destination.died(error)   what to tell of an answer that ended too early
"""

from __future__ import annotations

from app.config.model_entry import AttachedEntry
from app.errors import Diagnosis, UpstreamDiedError, UpstreamError, UpstreamKeyRefusedError, UpstreamUnreachableError
from app.models.ref import ModelRef
from app.relay.request import multipart as form
from app.relay.request.json_edit import with_model
from app.relay.request.parse import Call
from app.relay.upstream.pool import Origin
from app.scheduler.lease import Lease
from app.speculation.status import Status


class Destination:
    """`name` is the model's, `base_url` a root without a slash, `key` what the server wants; nothing is held of it."""

    __slots__ = ("base_url", "in_flight", "key", "name", "speculation")

    # Whether it is better asked for a stream where the client wants a whole answer (see `buffered.eligibility`)
    streams_well = False
    # Whether another one takes its place where it takes no connection
    restartable = False

    def __init__(self, name: str, base_url: str, key: str | None) -> None:
        self.name = name
        self.base_url = base_url
        self.key = key
        # Of our own engines: what decodes, and how many requests were with it when this one was sent
        self.speculation: Status | None = None
        self.in_flight: int | None = None

    def release(self) -> None:
        """Idempotent."""

    def body_of(self, call: Call) -> bytes | None:
        """The request's body in the server's words."""
        return call.body

    def refusal(self, status: int) -> UpstreamError | None:
        """What to tell instead of an answer with this status, where it is none for the client."""
        return None

    def answered(self) -> None:
        """To be called for an answer that came whole."""

    def drafted(self) -> None:
        """To be called for an answer that had drafted tokens: they prove what no warm-up can."""

    async def died(self, error: Exception) -> UpstreamDiedError:
        """What to tell of a server that did not end its answer; `error` says what it did."""
        return UpstreamDiedError(f"{self} {error}.")

    async def unreachable(self, reason: str) -> UpstreamError:
        """What to tell of a server that takes no connection."""
        return UpstreamUnreachableError(f"{self} cannot be reached: {reason}", None)


class AttachedServer(Destination):
    """Others look after it: any number of requests may go there."""

    __slots__ = ("_model",)

    def __init__(self, ref: ModelRef, entry: AttachedEntry) -> None:
        super().__init__(ref.name, entry.url, entry.api_key.get_secret_value() if entry.api_key else None)
        # A preset is ours: without a name of its own the server knows that of the entry alone
        self._model = entry.model or (ref.alias if ref.preset else None)

    def __str__(self) -> str:
        return f"The server of '{self.name}' at {self._host}"

    @property
    def _host(self) -> str:
        return Origin.of(self.base_url).authority

    def body_of(self, call: Call) -> bytes | None:
        """Under the server's own name for the model, if it has one."""
        if not call.body or not self._model or call.by_query:
            return call.body
        if call.boundary is None:
            return with_model(call.body, self._model)
        return form.with_model(call.body, call.boundary, self._model)

    def refusal(self, status: int) -> UpstreamError | None:
        """It is about the key of the entry, since no client's ever gets there."""
        if status != 401:
            return None
        return UpstreamKeyRefusedError(self.name, self._host, key_sent=self.key is not None)


class LeasedEngine(Destination):
    """An engine of ours, until the lease is released."""

    __slots__ = ("_engine", "_lease")

    streams_well = True
    restartable = True

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease.alias, lease.base_url, lease.key)
        self._lease = lease
        self._engine = lease.engine
        self.speculation = lease.engine.speculation
        self.in_flight = lease.in_flight

    def __str__(self) -> str:
        return f"The engine of '{self.name}'"

    def release(self) -> None:
        self._lease.release()

    def answered(self) -> None:
        self._lease.answered()

    def drafted(self) -> None:
        self._engine.drafted()

    async def died(self, error: Exception) -> UpstreamDiedError:
        if self._lease.cut is not None:
            return UpstreamDiedError(str(self._lease.cut))
        if (diagnosis := await self._diagnosis()) is not None:
            return UpstreamDiedError(f"{self} went down while it answered: {diagnosis}", diagnosis)
        return UpstreamDiedError(f"{self} broke off its answer.")

    async def unreachable(self, reason: str) -> UpstreamError:
        """One that lives and takes no connection is reported to its supervisor."""
        if (diagnosis := await self._diagnosis()) is None:
            await self._engine.unresponsive(self.key)
        return UpstreamUnreachableError(f"{self} cannot be reached: {diagnosis or reason}", diagnosis)

    async def _diagnosis(self) -> Diagnosis | None:
        return await self._engine.post_mortem(self.key)
