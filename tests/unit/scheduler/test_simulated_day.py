"""The simulation of the benchmarks: our policy against those that others have, on the same traffic."""

from __future__ import annotations

import pytest

from benchmarks.placement import SEED, compare, measure
from benchmarks.placement_traffic import WORKLOADS, Workload


@pytest.mark.parametrize("seed", [SEED, 23, 41])
def test_ours_is_no_worse_than_any_other(seed: int) -> None:
    """Neither in cold starts nor in waits, and all of them keep to the budget. A quarter of a day is noisier."""
    ours, *others = measure(seed, days=0.25)
    assert ours.rule == "ours" and len(others) == 3
    for other in others:
        assert ours.cold_starts <= other.cold_starts, other.rule
        assert ours.p50 <= other.p50 * 1.02 and ours.p99 <= other.p99 * 1.02, other.rule


@pytest.mark.parametrize("workload", WORKLOADS[1:], ids=lambda workload: workload.name)
def test_nor_with_other_traffic_models_or_memory(workload: Workload) -> None:
    """Means of short pieces: where few requests wait, a longer one is needed, since the longest waits are chance."""
    ours, *others = compare(workload, (SEED, 23), days=0.5 if workload.name == "conversations" else 0.2)
    for other in others:
        assert ours.cold_starts <= other.cold_starts * 1.01, other.rule
        assert ours.p50 <= other.p50 * 1.05 + 0.01 and ours.p99 <= other.p99 * 1.05, other.rule
