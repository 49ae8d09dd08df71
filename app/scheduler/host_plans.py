"""Plans an engine on each machine that may run it, and records what the machines say. The policy chooses among them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from app import logs
from app.engine.launch import LaunchPlan
from app.errors import HostLostError, InsufficientMemoryError, NoNodeError, TandemError
from app.models.ref import ModelRef
from app.scheduler.memory_books import MemoryBooks
from app.scheduler.node_places import NodePlaces, may_run_on
from app.scheduler.snapshot import HostOffer
from app.supervisor.host import LOCAL, PlacedPlan

if TYPE_CHECKING:
    from app.cluster.node_plans import NodePlans
    from app.cluster.remote import RemoteHost

log = logs.get_logger("scheduler")

_Results = Mapping[str, PlacedPlan | TandemError]


class HostPlans:
    """`here` plans on this machine."""

    def __init__(
        self,
        here: Callable[[ModelRef], Awaitable[PlacedPlan]],
        nodes: NodePlans,
        places: NodePlaces,
        memory: MemoryBooks,
    ) -> None:
        self._here = here
        self._nodes = nodes
        self._places = places
        self._memory = memory

    async def plan(self, ref: ModelRef) -> PlacedPlan:
        """The plan for the chosen machine, or, before a choice, for one that can start it.

        Raises NoNodeError, or the error of one machine if all refuse.
        """
        if chosen := self._places.chosen(ref.engine_key):
            result = (await self._planned(ref, {chosen}))[chosen]
            if isinstance(result, TandemError):
                raise result
            return result
        while True:
            changed = self._nodes.changed()
            results = await self.ask(ref)
            able = [name for name, result in results.items() if isinstance(result, PlacedPlan)]
            if able or not await self._nodes.others_may_join(ref, changed):
                return self._of(ref, able, results)

    def _of(self, ref: ModelRef, able: list[str], results: _Results) -> PlacedPlan:
        ran_on = self._places.of(ref.engine_key).ran_on
        # Mostly what the policy will choose; it plans again otherwise
        for name in (*ran_on, LOCAL, *able):
            if isinstance(result := results.get(name), PlacedPlan):
                return result
        errors = [error for _, error in sorted(results.items(), key=_as_told) if isinstance(error, TandemError)]
        raise errors[0] if errors else NoNodeError(ref.engine_key, self._nodes.why_none(ref))

    async def ask(self, ref: ModelRef) -> _Results:
        """Asks all machines that the entry names, and records their answers."""
        results = self._without_failed(ref, await self._planned(ref, self._named(ref)))
        offers = [self._offer(ref, name, result) for name, result in results.items()]
        before = self._places.of(ref.engine_key).offers
        # What a node said before it missed a beat
        offers += [before[name] for name in self._nodes.in_doubt(ref) if name in before and name not in results]
        self._places.offered(ref.engine_key, offers)
        told = {offer.host: offer.refusal or "ok" for offer in offers}
        log.debug("machines asked", alias=ref.engine_key, **told)
        return results

    def _without_failed(self, ref: ModelRef, results: _Results) -> _Results:
        """Machines on which a start has failed for good are left out, as long as another can start it."""
        failed = self._places.of(ref.engine_key).failed
        able = {name for name, result in results.items() if isinstance(result, PlacedPlan)}
        if able <= failed.keys():
            return results
        causes = {
            name: NoNodeError(ref.engine_key, f"its last start on {name} failed: {failed[name]}")
            for name in able & failed.keys()
        }
        return {**results, **causes}

    def _named(self, ref: ModelRef) -> set[str]:
        here = (LOCAL,) if may_run_on(LOCAL, ref.local_entry.nodes) else ()
        return {*self._nodes.eligible(ref), *here}

    def _offer(self, ref: ModelRef, name: str, result: PlacedPlan | TandemError) -> HostOffer:
        book, key = self._memory.of(name), ref.engine_key
        if isinstance(result, TandemError):
            return HostOffer(name, refusal=str(result).removeprefix(_on(name)).rstrip("."))
        return HostOffer(name, dict(book.needs(key)), book.mapped(key)) if book else HostOffer(name)

    async def _planned(self, ref: ModelRef, names: set[str]) -> _Results:
        nodes = self._nodes.eligible(ref)
        there = [name for name in sorted(names) if name == LOCAL or name in nodes]
        works = [self._here(ref) if name == LOCAL else self._on_node(ref, name, nodes[name]) for name in there]
        results: dict[str, PlacedPlan | TandemError] = {
            name: HostLostError(f"{name}: it takes no engines now") for name in names.difference(there)
        }
        for name, result in zip(there, await asyncio.gather(*works, return_exceptions=True), strict=True):
            if not isinstance(result, PlacedPlan | TandemError):
                raise result
            results[name] = result
        return results

    async def _on_node(self, ref: ModelRef, name: str, host: RemoteHost) -> PlacedPlan:
        """Raises what the planner of the node raises, and HostLostError."""

        async def without_draft(reason: str) -> LaunchPlan:
            return await self._nodes.plan_on(ref, host, without_draft=reason)

        try:
            plan = await self._nodes.plan_on(ref, host)
            if (book := self._memory.of(name)) is not None:
                plan = await book.planned(ref.engine_key, plan, without_draft)
        except HostLostError:
            raise
        except TandemError as error:
            error.args = (f"{_on(name)}{error}",)
            raise
        return PlacedPlan(host, plan)


def _on(name: str) -> str:
    return f"On node {name}: "


def _as_told(result: tuple[str, PlacedPlan | TandemError]) -> tuple[bool, bool, bool, str]:
    """The error that says most comes first: a model that is there but does not fit, then this machine's."""
    name, error = result
    return not isinstance(error, InsufficientMemoryError), isinstance(error, HostLostError), name != LOCAL, name
