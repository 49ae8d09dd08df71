"""The destination of a request: an engine of ours, held by a lease, or an attached server.

`base_url` and `key` say how to send the request. `release()` gives the lease back. `await died(error)` returns the
error for an answer that ended too early.
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
    """`name` is the model's. `base_url` is a root URL without a final slash. `key` is the server's API key."""

    __slots__ = ("base_url", "in_flight", "key", "name", "speculation")

    # Whether a whole answer is better requested as a stream (see `buffered.eligibility`)
    streams_well = False
    # Whether the scheduler replaces it if it accepts no connection
    restartable = False

    def __init__(self, name: str, base_url: str, key: str | None) -> None:
        self.name = name
        self.base_url = base_url
        self.key = key
        # For our own engines: the speculation mode, and the requests in flight when this one was sent
        self.speculation: Status | None = None
        self.in_flight: int | None = None

    def release(self) -> None:
        """Releases the lease. Idempotent."""

    def body_of(self, call: Call) -> bytes | None:
        """Returns the request's body for this server."""
        return call.body

    def refusal(self, status: int) -> UpstreamError | None:
        """Returns an error to raise in place of a response with this status, or None if the client gets the
        response."""
        return None

    def answered(self) -> None:
        """Reports a complete answer."""

    def drafted(self) -> None:
        """Reports an answer with drafted tokens, which proves that speculation is on."""

    async def died(self, error: Exception) -> UpstreamDiedError:
        """Returns the error for an answer that the server did not complete. `error` says what the server did."""
        return UpstreamDiedError(f"{self} {error}.")

    async def unreachable(self, reason: str) -> UpstreamError:
        """Returns the error for a server that accepts no connection."""
        return UpstreamUnreachableError(f"{self} cannot be reached: {reason}", None)


class AttachedServer(Destination):
    """A server that the gateway does not manage. It takes any number of requests."""

    __slots__ = ("_model",)

    def __init__(self, ref: ModelRef, entry: AttachedEntry) -> None:
        super().__init__(ref.name, entry.url, entry.api_key.get_secret_value() if entry.api_key else None)
        # Presets exist in the gateway only: without a `model` of its own the server gets the entry's name
        self._model = entry.model or (ref.alias if ref.preset else None)

    def __str__(self) -> str:
        return f"The server of '{self.name}' at {self._host}"

    @property
    def _host(self) -> str:
        return Origin.of(self.base_url).authority

    def body_of(self, call: Call) -> bytes | None:
        """Sets the server's own name of the model, if the entry has one."""
        if not call.body or not self._model or call.by_query:
            return call.body
        if call.boundary is None:
            return with_model(call.body, self._model, call.spans)
        return form.with_model(call.body, call.boundary, self._model, call.spans)

    def refusal(self, status: int) -> UpstreamError | None:
        """A 401 concerns the entry's key, since a client's key is never sent there."""
        if status != 401:
            return None
        return UpstreamKeyRefusedError(self.name, self._host, key_sent=self.key is not None)


class LeasedEngine(Destination):
    """An engine of ours, until its lease is released."""

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
        return UpstreamDiedError(f"{self} ended its answer early.")

    async def unreachable(self, reason: str) -> UpstreamError:
        """Reports an engine that runs but accepts no connection to its supervisor."""
        if (diagnosis := await self._diagnosis()) is None:
            await self._engine.unresponsive(self.key)
        return UpstreamUnreachableError(f"{self} cannot be reached: {diagnosis or reason}", diagnosis)

    async def _diagnosis(self) -> Diagnosis | None:
        return await self._engine.post_mortem(self.key)
