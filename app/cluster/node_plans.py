"""Plans an engine on the nodes that may run it, each by its own files and build."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from app.cluster.membership import Membership
from app.cluster.node_planner import PlanRequest
from app.cluster.remote import RemoteHost
from app.config.speculation import AUTO
from app.engine.launch import LaunchPlan
from app.errors import HostLostError, NoNodeError, TandemError
from app.models.ref import ModelRef
from app.speculation.mode_records import MeasuredModes, ModeRecords

# A gateway that has just started waits so long for the first nodes
_FIRST_NODES_S = 20.0
# A node that has missed a beat is lost or well again by then
_IN_DOUBT_S = 5.0


class NodePlans:
    """Plans of entries on nodes. One without `nodes` may run on each."""

    def __init__(self, membership: Membership, records: ModeRecords | None = None) -> None:
        """`records` are what `auto` goes by on each node. Without them it goes by its rule."""
        self._membership = membership
        self._records = records

    def eligible(self, ref: ModelRef) -> dict[str, RemoteHost]:
        """The nodes that the entry names and that take engines now."""
        patterns = ref.local_entry.nodes or ("*",)
        hosts = self._membership.hosts
        return {
            name: host
            for name, host in hosts.items()
            if not host.suspect and any(fnmatchcase(name, pattern) for pattern in patterns)
        }

    def in_doubt(self, ref: ModelRef) -> list[str]:
        """The nodes that the entry names and that have missed a beat. They are lost or well again in seconds."""
        patterns = ref.local_entry.nodes or ("*",)
        hosts = self._membership.hosts.items()
        return [
            name for name, host in hosts if host.suspect and any(fnmatchcase(name, pattern) for pattern in patterns)
        ]

    async def plan_on(self, ref: ModelRef, host: RemoteHost, without_draft: str | None = None) -> LaunchPlan:
        """`without_draft` is the reason for a plan without it. Raises the errors of the planner, and HostLostError."""
        request = PlanRequest.of(ref.alias, ref.engine_key, ref.local_entry, without_draft=without_draft)
        if ref.requested_mode == AUTO and self._records is not None:
            key = await host.key(request)
            measured = await asyncio.to_thread(MeasuredModes.of, self._records, ref.alias, key)
            request = replace(request, measured=measured)
        return await host.plan(request)

    async def key(self, ref: ModelRef, node: str) -> str:
        """The key of measurements on a node. Raises HostLostError, and the errors of `Planner.key`."""
        if (host := self._membership.hosts.get(node)) is None:
            raise HostLostError(f"{node}: it is not in the cluster")
        return await host.key(PlanRequest.of(ref.alias, ref.engine_key, ref.local_entry))

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

    def changed(self) -> asyncio.Event:
        """Set at the next change of the nodes."""
        return self._membership.changed

    async def others_may_join(self, ref: ModelRef, changed: asyncio.Event) -> bool:
        """Waits for a change while nodes are in doubt, or may still join. False if there is none."""
        left = self._membership.opened + _FIRST_NODES_S - asyncio.get_running_loop().time()
        left = max(left, _IN_DOUBT_S if self.in_doubt(ref) else 0.0)
        if left <= 0:
            return False
        try:
            await asyncio.wait_for(changed.wait(), left)
        except TimeoutError:
            return False
        return True

    def why_none(self, ref: ModelRef) -> str:
        """Why there is no node for it."""
        if self._membership.trouble:
            return f"the cluster is not connected ({self._membership.trouble})"
        wanted = ", ".join(ref.local_entry.nodes) or "all"
        refused = [f"{name}: {why}" for name, why in sorted(self._membership.refused.items())]
        there = ", ".join(sorted(self._membership.hosts)) or "none"
        return "; ".join((f"its entry names {wanted}, and these take engines now: {there}", *refused))
