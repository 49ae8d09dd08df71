"""What `check` says of models that may start on nodes."""

from __future__ import annotations

import pytest

from app.cli.check_cluster import ClusterReport, budgets_in_words
from app.cli.check_nodes import also_on_nodes, report_on_nodes
from app.cli.check_report import CANNOT_START, OK, CheckReport
from app.engine.launch import LaunchPlan
from app.errors import LaunchRefusedError
from app.supervisor.machine_memory import MemoryBounds
from tests.support.models import LOCAL, ref_to

PLAN = LaunchPlan("m", (), {}, (), ())
TOO_SMALL = LaunchRefusedError("On node box2: memory: it does not fit, even alone.")
GIB = 1 << 30


def cluster(**starts: LaunchPlan | LaunchRefusedError) -> ClusterReport:
    return ClusterReport([], fine=True, starts={"m": dict(starts)})


def test_one_machine_that_can_start_a_model_is_enough() -> None:
    here = CheckReport(("m", "  CANNOT START: no file"), fine=False, outcome=CANNOT_START)
    both = also_on_nodes(here, ref_to("m"), cluster(box1=PLAN, box2=TOO_SMALL))
    assert both == CheckReport(("m", "  CANNOT START: no file", "  ok on box1"), fine=True, outcome=OK)
    fine = CheckReport(("m", "  ok"), fine=True, outcome=OK)
    assert also_on_nodes(fine, ref_to("m"), cluster(box1=PLAN)).lines == ("m", "  ok", "  ok on box1")


@pytest.mark.parametrize("known", [None, cluster(box2=TOO_SMALL)])
def test_this_machines_report_stays_if_no_node_can(known: ClusterReport | None) -> None:
    here = CheckReport(("m", "  CANNOT START: no file"), fine=False, outcome=CANNOT_START)
    assert also_on_nodes(here, ref_to("m"), known) is here


def test_a_node_that_is_too_small_is_told() -> None:
    ref = ref_to("m", entry=LOCAL.model_copy(update={"nodes": ("box*",)}))
    report = report_on_nodes(ref, cluster(box2=TOO_SMALL))
    assert report.outcome == CANNOT_START and "  On node box2: memory: it does not fit, even alone." in report.lines


def test_the_memory_of_a_node_is_told() -> None:
    bounds = MemoryBounds((), (), 64 * GIB, {"host": 60 * GIB, "CUDA0": 23 * GIB}, pages=True)
    assert budgets_in_words(bounds) == "host 60.00 GiB, CUDA0 23.00 GiB for engines"
    assert "lists no devices" in budgets_in_words(None)
