"""The simulation of a cluster in the benchmarks: our policy against simpler ways to choose a node."""

from __future__ import annotations

from benchmarks.cluster import ClusterSize, measure


def test_ours_starts_fewer_engines_than_simpler_rules() -> None:
    """On the same traffic, with little memory for it. No rule exceeds a node's memory, and every request ends."""
    ours, *others = measure(ClusterSize(nodes=6, aliases=150, requests=20_000, days=0.1))
    assert ours.rule == "llama-tandem" and len(others) == 2 and ours.decisions
    for other in others:
        assert ours.cold_starts < other.cold_starts, other.rule
        assert ours.p99 <= other.p99 * 1.05, other.rule
