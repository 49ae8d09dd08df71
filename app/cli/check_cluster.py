"""Reports the nodes of the cluster for `check`, and whether each model can start on those that its entry names."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from app.cluster.membership import Membership
from app.cluster.node_plans import NodePlans
from app.config.cluster import ClusterSettings
from app.engine.launch import LaunchPlan
from app.errors import TandemError
from app.models.ref import ModelRef

# For the connection, and then for agents, which are new processes
_CONNECTED_WITHIN_S, _NEWS_WITHIN_S = 60.0, 10.0


@dataclass(slots=True)
class ClusterReport:
    """`lines` on the cluster itself. `starts` are the plan, or the error, of each model by node."""

    lines: list[str]
    fine: bool
    starts: dict[str, dict[str, LaunchPlan | TandemError]] = field(default_factory=dict)


def probe_cluster(settings: ClusterSettings, refs: list[ModelRef]) -> ClusterReport:
    """Joins the cluster, asks each node, and leaves. Raises RayNotInstalledError."""
    return asyncio.run(_probe(settings, refs))


async def _probe(settings: ClusterSettings, refs: list[ModelRef]) -> ClusterReport:
    membership = Membership(settings, lambda: None, lambda _: None)
    membership.open()
    try:
        await until_quiet(membership)
        if membership.trouble:
            return ClusterReport([f"cluster: {settings.address}", f"  NO ANSWER: {membership.trouble}"], fine=False)
        count = len(membership.hosts)
        lines = [f"cluster: {settings.address}, {count} node{'' if count == 1 else 's'}"]
        for name, host in sorted(membership.hosts.items()):
            lines.append(f"  {name}  {host.facts.address}, {host.facts.engine}")
        lines += [f"  warning: {name} takes no engines: {why}" for name, why in sorted(membership.refused.items())]
        plans = NodePlans(membership)
        starts = {ref.name: await plans.everywhere(ref) for ref in refs}
        return ClusterReport(lines, fine=not membership.refused, starts=starts)
    finally:
        await membership.close()


async def until_quiet(membership: Membership) -> None:
    """Returns once the nodes are known, as far as they answer."""
    limit = _CONNECTED_WITHIN_S
    while True:
        changed = membership.changed
        try:
            await asyncio.wait_for(changed.wait(), limit)
        except TimeoutError:
            return
        if membership.tried and membership.trouble:
            return
        limit = _NEWS_WITHIN_S if not membership.trouble else limit
