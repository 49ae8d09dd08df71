"""The sections of `check` on the cluster, and on each model of its nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.cli.check_report import CANNOT_START, OK, CheckReport
from app.config.settings import Settings
from app.engine.launch import LaunchPlan
from app.errors import RayNotInstalledError, TandemError
from app.models.ref import ModelRef

if TYPE_CHECKING:
    from app.cli.check_cluster import ClusterReport


def ask_cluster(settings: Settings, of_nodes: list[ModelRef]) -> ClusterReport | None:
    """Asks the cluster of the settings for these models; None without a cluster."""
    if settings.cluster is None:
        return None
    from app.cli.check_cluster import ClusterReport, probe_cluster  # Not needed without a cluster

    try:
        return probe_cluster(settings.cluster, settings, of_nodes)
    except RayNotInstalledError as error:
        return ClusterReport([f"cluster: {settings.cluster.address}", f"  CANNOT START: {error}"], fine=False)


def also_on_nodes(report: CheckReport, ref: ModelRef, cluster: ClusterReport | None) -> CheckReport:
    """Adds to this machine's report on a model the nodes that can start it too. One of them is enough."""
    starts = cluster.starts.get(ref.name, {}) if cluster is not None else {}
    able = [name for name, result in starts.items() if isinstance(result, LaunchPlan)]
    if not able:
        return report
    lines = (*report.lines, f"  ok on {', '.join(able)}")
    return replace(report, lines=lines) if report.fine else CheckReport(lines, fine=True, outcome=OK)


def report_on_nodes(ref: ModelRef, cluster: ClusterReport | None) -> CheckReport:
    """Reports `ok` if a node that is there can start it."""
    patterns = ", ".join(ref.local_entry.nodes)
    starts = cluster.starts.get(ref.name, {}) if cluster is not None else {}
    lines = [ref.name, f"  nodes      {patterns}"]
    lines += [f"  {result}" for result in starts.values() if isinstance(result, TandemError)]
    if able := [name for name, result in starts.items() if isinstance(result, LaunchPlan)]:
        return CheckReport((*lines, f"  ok on {', '.join(able)}"), fine=True, outcome=OK)
    why = "it can start on none of them" if starts else "none of them is there"
    return CheckReport((*lines, f"  CANNOT START: {why}."), fine=False, outcome=CANNOT_START)
