"""Plans an engine on the nodes that its entry names, and chooses one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from app.cluster.membership import Membership
from app.cluster.node_planner import PlanRequest
from app.cluster.remote import RemoteHost
from app.engine.launch import LaunchPlan
from app.errors import HostLostError, NoNodeError, TandemError
from app.models.ref import ModelRef
from app.supervisor.host import PlacedPlan

# A gateway that has just started waits so long for the first nodes
_FIRST_NODES_S = 20.0
_UNSAVED = "its engine runs on another machine"


class NodePlans:
    """Plans of all entries with `nodes`. `choose` picks one of the nodes that can start an engine, by its key."""

    def __init__(self, membership: Membership, choose: Callable[[str, Iterable[str]], str]) -> None:
        self._membership = membership
        self._choose = choose

    def eligible(self, ref: ModelRef) -> dict[str, RemoteHost]:
        """The nodes that the entry names and that take engines now."""
        patterns = ref.local_entry.nodes
        hosts = self._membership.hosts
        return {
            name: host
            for name, host in hosts.items()
            if not host.suspect and any(fnmatchcase(name, pattern) for pattern in patterns)
        }

    async def plan(self, ref: ModelRef) -> PlacedPlan:
        """Raises NoNodeError, or the error of the first node if the launch is refused on all of them."""
        await self._until_there(ref)
        nodes = self.eligible(ref)
        if not nodes:
            raise NoNodeError(ref.engine_key, self._why_none(ref))
        results = await self._planned(ref, nodes)
        plans = {name: result for name, result in results.items() if isinstance(result, LaunchPlan)}
        refused = [result for result in results.values() if isinstance(result, TandemError)]
        if not plans:
            raise refused[0]
        node = self._choose(ref.engine_key, plans)
        return PlacedPlan(nodes[node], replace(plans[node], saves_slots=False, why_unsaved=_UNSAVED))

    async def everywhere(self, ref: ModelRef) -> dict[str, LaunchPlan | TandemError]:
        """The plan, or the reason against it, of each node that the entry names and that is there."""
        return await self._planned(ref, self.eligible(ref))

    async def _planned(self, ref: ModelRef, nodes: Mapping[str, RemoteHost]) -> dict[str, LaunchPlan | TandemError]:
        request = PlanRequest.of(ref.alias, ref.engine_key, ref.local_entry)
        results = await asyncio.gather(*(nodes[name].plan(request) for name in sorted(nodes)), return_exceptions=True)
        by_node: dict[str, LaunchPlan | TandemError] = {}
        for name, result in zip(sorted(nodes), results, strict=True):
            if isinstance(result, HostLostError):
                by_node[name] = NoNodeError(ref.engine_key, result.reason)
            elif isinstance(result, TandemError):
                result.args = (f"On node {name}: {result}",)
                by_node[name] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                by_node[name] = result
        return by_node

    async def _until_there(self, ref: ModelRef) -> None:
        """Waits for the first node of a gateway that has just started."""
        loop = asyncio.get_running_loop()
        while not self.eligible(ref) and (left := self._membership.opened + _FIRST_NODES_S - loop.time()) > 0:
            try:
                await asyncio.wait_for(self._membership.changed.wait(), left)
            except TimeoutError:
                return

    def _why_none(self, ref: ModelRef) -> str:
        if self._membership.trouble:
            return f"the cluster is not connected ({self._membership.trouble})"
        wanted = ", ".join(ref.local_entry.nodes)
        refused = [f"{name}: {why}" for name, why in sorted(self._membership.refused.items())]
        there = ", ".join(sorted(self._membership.hosts)) or "none"
        return "; ".join((f"its entry names {wanted}, and these take engines now: {there}", *refused))
