"""Reports the nodes of the cluster for `check`, and whether each model can start on those that its entry names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.cluster.membership import Membership
from app.cluster.node_memory import RemoteMemory
from app.cluster.node_plans import NodePlans
from app.cluster.remote import RemoteHost
from app.config.cluster import ClusterSettings
from app.config.settings import Settings
from app.engine.footprint.budget import may_page
from app.engine.footprint.verdict import budgets_alone
from app.engine.launch import LaunchPlan
from app.errors import LaunchRefusedError, TandemError
from app.models.ref import ModelRef
from app.supervisor.machine_memory import MemoryBounds
from app.terminal import memory_in_words

# For the connection, and then for agents, which are new processes
_CONNECTED_WITHIN_S, _NEWS_WITHIN_S = 60.0, 10.0


@dataclass(slots=True)
class ClusterReport:
    """`lines` on the cluster itself. `starts` are the plan, or the error, of each model by node."""

    lines: list[str]
    fine: bool
    starts: dict[str, dict[str, LaunchPlan | TandemError]] = field(default_factory=dict)


def probe_cluster(cluster: ClusterSettings, settings: Settings, refs: list[ModelRef]) -> ClusterReport:
    """Joins the cluster, asks each node, and leaves. Raises RayNotInstalledError."""
    return asyncio.run(_probe(cluster, settings, refs))


async def _probe(cluster: ClusterSettings, settings: Settings, refs: list[ModelRef]) -> ClusterReport:
    membership = Membership(cluster, lambda: None, lambda _: None)
    membership.open()
    try:
        await until_quiet(membership)
        if membership.trouble:
            return ClusterReport([f"cluster: {cluster.address}", f"  NO ANSWER: {membership.trouble}"], fine=False)
        count = len(membership.hosts)
        lines = [f"cluster: {cluster.address}, {count} node{'' if count == 1 else 's'}"]
        memory = {name: await node_memory(host, settings) for name, host in sorted(membership.hosts.items())}
        for name, host in sorted(membership.hosts.items()):
            lines.append(f"  {name}  {host.facts.address}, {host.facts.engine}")
            lines.append(f"    memory   {budgets_in_words(memory[name])}")
        lines += [f"  warning: {name} takes no engines: {why}" for name, why in sorted(membership.refused.items())]
        plans = NodePlans(membership)
        starts = {ref.name: await _starts(plans, ref, membership.hosts, memory) for ref in refs}
        return ClusterReport(lines, fine=not membership.refused, starts=starts)
    finally:
        await membership.close()


async def node_memory(host: RemoteHost, settings: Settings) -> MemoryBounds | None:
    """What engines may take on a node without other programs; None if its llama-server lists no devices."""
    try:
        seen = await RemoteMemory(host).see()
    except TandemError:
        return None
    if seen.devices is None:
        return None
    budgets = budgets_alone(seen.devices, seen.host, settings.memory, settings.memory_margin)
    return MemoryBounds(seen.devices, seen.devices, seen.host, budgets, may_page(settings.memory))


def budgets_in_words(bounds: MemoryBounds | None) -> str:
    """`host 60.00 GiB, CUDA0 23.00 GiB for engines`"""
    if bounds is None:
        return "unknown: its llama-server lists no devices"
    return f"{', '.join(f'{name} {memory_in_words(size)}' for name, size in bounds.budgets.items())} for engines"


async def _starts(
    plans: NodePlans, ref: ModelRef, hosts: Mapping[str, RemoteHost], memory: Mapping[str, MemoryBounds | None]
) -> dict[str, LaunchPlan | TandemError]:
    """The plan of each node, or why it cannot start there. Memory counts, too."""
    starts = await plans.everywhere(ref)
    for name, plan in starts.items():
        bounds = memory.get(name)
        if not isinstance(plan, LaunchPlan) or bounds is None or name not in hosts:
            continue
        try:
            verdict = await RemoteMemory(hosts[name]).judge(plan, bounds)
        except TandemError as error:
            starts[name] = error
            continue
        if not verdict.fits:
            starts[name] = LaunchRefusedError(f"On node {name}: memory: {verdict.words()}", code="insufficient_memory")
    return starts


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
