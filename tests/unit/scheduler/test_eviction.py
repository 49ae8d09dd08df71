"""Which engine leaves: by the loads that it would need again, for the memory that it frees."""

from __future__ import annotations

from app.scheduler.demand import UNUSED, Demand
from app.scheduler.policy import decide, next_look
from app.scheduler.snapshot import PAUSE_S, Drain, EngineView, SchedulerSnapshot, Wait
from app.supervisor.states import EngineState

NOW = 10_000.0


def asked(*moments: float) -> Demand:
    demand = UNUSED
    for moment in moments:
        demand = demand.asked(moment)
    return demand


def ready(alias: str, *moments: float, size: int = 4, load: float = 3.0, **more: object) -> EngineView:
    """An engine whose requests came at these moments; answers take a second."""
    return EngineView(
        alias,
        EngineState.READY,
        last_used=moments[-1] + 1,
        load_seconds=load,
        demand=asked(*moments),
        needs={"CUDA0": size},
        **more,  # type: ignore[arg-type]
    )


def leaves(*engines: EngineView, since: float = NOW - 1, now: float = NOW) -> list[str]:
    new = EngineView("new", EngineState.STOPPED, needs={"CUDA0": 4})
    held = sum(engine.needs["CUDA0"] for engine in engines)
    case = SchedulerSnapshot(now, 9, (*engines, new), (Wait("new", since),), budgets={"CUDA0": held})
    return [action.alias for action in decide(case) if isinstance(action, Drain)]


def test_a_model_in_regular_use_outlasts_one_that_was_used_once() -> None:
    """Though that was later. A rule that goes by the last use would unload it every time."""
    regular = ready("regular", *(NOW - 300 * n for n in range(12, 0, -1)))
    once = ready("once", NOW - 240)
    assert leaves(regular, once) == ["once"]


def test_a_conversation_that_has_just_begun_goes_on() -> None:
    recent, often = ready("recent", NOW - 20), ready("often", *(NOW - 900 * n for n in range(8, 0, -1)))
    assert leaves(recent, often) == ["often"]


def test_of_single_uses_the_oldest_leaves() -> None:
    views = [ready("a", NOW - 300), ready("b", NOW - 900), ready("c", NOW - 600)]
    assert leaves(*views) == ["b"]


def test_of_those_used_within_seconds_the_oldest_leaves() -> None:
    """Loads of the same model never take exactly as long."""
    assert leaves(ready("a", NOW - 4, load=3.6), ready("b", NOW - 2, load=3.0)) == ["a"]


def test_a_load_that_takes_longer_and_frees_less_is_kept() -> None:
    """For the same use."""
    quick, slow = ready("quick", NOW - 100, load=2.0), ready("slow", NOW - 100, load=20.0)
    assert leaves(quick, slow) == ["quick"]
    large, small = ready("large", NOW - 100, size=8), ready("small", NOW - 100)
    assert leaves(small, large) == ["large"]


def test_priority_and_idleness_come_before_use() -> None:
    often = ready("often", *(NOW - 60 * n for n in range(30, 0, -1)), priority=-1)
    assert leaves(often, ready("once", NOW - 5_000)) == ["often"]
    assert leaves(ready("once", NOW - 5_000, in_flight=1), ready("often", *(NOW - 60, NOW - 30))) == ["often"]
    assert leaves(ready("pinned", NOW - 9_000, pinned=True), ready("often", NOW - 60, NOW - 30)) == ["often"]


def test_a_minimum_residency_is_for_those_in_steady_use() -> None:
    """After its only answer an engine gives way; the pause lets a client in that asks again at once."""
    came_up = NOW - 8
    once = ready("once", NOW - 3, ready_at=came_up)
    assert leaves(once, since=NOW - 9) == ["once"]
    just = ready("just", NOW - 1 - PAUSE_S / 2, ready_at=came_up)
    assert leaves(just, since=NOW - 9) == []
    case = SchedulerSnapshot(NOW, 1, (just, EngineView("new", EngineState.STOPPED)), (Wait("new", NOW - 9),))
    assert next_look(case) == just.last_used + PAUSE_S
    steady = ready("steady", *(NOW - 3 - 6 * n for n in range(20, -1, -1)), load=4.0, ready_at=came_up)
    assert leaves(steady, since=NOW - 9) == []
    assert leaves(steady, since=NOW - 9, now=came_up + 15.1) == ["steady"]
