"""Finds the destination of a request: checks the load, pulls missing files, and leases an engine."""

from __future__ import annotations

from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.speculation import NONE
from app.errors import InvalidBodyError, LogprobsRefusedError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.pulls.on_demand import OnDemand
from app.relay.request.parse import Call
from app.relay.upstream.destination import AttachedServer, Destination, LeasedEngine
from app.relay.upstream.tool_check import ToolCheck
from app.scheduler.loop import Scheduler
from app.scheduler.queue import Ticket
from app.supervisor.states import EngineState

# Endpoints that an engine answers without a slot
_SLOTLESS = ("/tokenize", "/detokenize", "/apply-template", "/input_tokens", "/count_tokens")


class Router:
    """Waits until a request can be sent."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler, on_demand: OnDemand) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._on_demand = on_demand
        # The number of requests in flight from which plain decoding of an `auto` alias is faster, as measured in
        # traffic
        self.crossings: dict[str, int | None] = {}
        self.tool_check = ToolCheck()

    async def destination(self, call: Call, ticket: Ticket) -> Destination:
        """Returns a destination, which the caller releases. `ticket` is the request's place in the queue.

        Raises EngineUnavailableError, LogprobsRefusedError or InvalidBodyError, and then holds no lease.
        """
        ref, entry = call.ref, call.ref.entry
        if isinstance(entry, AttachedEntry):
            return AttachedServer(ref, entry)
        if entry.speculation.auto:
            ref = self._by_load(ref)
        if entry.pull == "on_demand" and not self._scheduler.status(ref).up:
            await self._on_demand.ensure(ref, patient=call.streaming)
        ticket.takes_slot = takes_slot(call)
        engine = LeasedEngine(await self._scheduler.lease(ref, call.body, ticket))
        if call.fields.wants_logprobs and (refusal := self._refused_logprobs(ref, entry, engine)) is not None:
            engine.release()
            raise refusal
        if call.must_call is not None:
            try:
                self.tool_check.look(ref, self._scheduler.status(ref).facts, must=call.must_call)
            except InvalidBodyError:
                engine.release()
                raise
        return engine

    def unload_unless_used(self, ref: ModelRef, client: str) -> bool:
        """Unloads the model's engine if no other client needs it. Returns whether it is unloaded, or about to be."""
        return isinstance(ref.entry, LocalEntry) and self._scheduler.verbs.unload_unless_used(ref, client)

    def waiting_for(self, ref: ModelRef, ticket: Ticket | None = None) -> str:
        """Says what a request without an answer waits for."""
        engine = self._scheduler.status(ref)
        if (loading := engine.loading) is not None:
            return f"waiting for the engine, which is loading: {loading.words()}"
        if ticket is not None and (before := ticket.before) is not None:
            return f"waiting, {before} before you" + ("" if engine.up else ", for a place")
        return self._on_demand.waiting_for(ref)

    def _by_load(self, ref: ModelRef) -> ModelRef:
        """Chooses the engine of an `auto` alias that is faster at this load, if both its drafted and its plain one are
        up."""
        crossing, beside = self.crossings.get(ref.engine_key), self._catalog.plain(ref)
        if crossing is None or beside == ref:
            return ref
        drafted, plain = self._scheduler.status(ref), self._scheduler.status(beside)
        both_up = drafted.state is EngineState.READY and plain.state is EngineState.READY
        return beside if both_up and drafted.in_flight + plain.in_flight + 1 >= crossing else ref

    def _refused_logprobs(self, ref: ModelRef, entry: LocalEntry, engine: LeasedEngine) -> LogprobsRefusedError | None:
        """Refuses log probabilities with speculation: llama-server reports 0.0 for every drafted token (b11434)."""
        status = engine.speculation
        # Applies to unproven speculation too: the first drafted token would already have a wrong value.
        if entry.speculation.on_logprobs == "pass" or status is None or status.mode == NONE:
            return None
        plain = self._catalog.plain(ref)
        # Another model may have the plain variant's name.
        ways = f"Ask for '{plain}', or set on_logprobs to plain or pass" if plain != ref else "Set on_logprobs to pass"
        return LogprobsRefusedError(
            f"Log probabilities would be wrong: '{engine.name}' decodes with {status.mode}, and llama-server reports "
            f"0.0 for drafted tokens. {ways}."
        )


def takes_slot(call: Call) -> bool:
    """Tells whether the request needs a slot to decode or embed."""
    return not call.by_query and not call.target.partition("?")[0].endswith(_SLOTLESS)
