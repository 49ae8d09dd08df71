"""The policy's seven cases, and what must hold for every snapshot."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scheduler.policy import decide
from app.scheduler.snapshot import (
    PATIENCE_S,
    SHORT_BACKOFF_S,
    Action,
    Drain,
    EngineView,
    Grant,
    Misfit,
    Refuse,
    Retry,
    SchedulerSnapshot,
    Start,
    Wait,
)
from app.supervisor.states import OCCUPYING, EngineState


def snapshot(
    *engines: EngineView,
    waiting: tuple[str, ...] = (),
    max_loaded: int = 1,
    waited: float = 0.0,
    misfits: tuple[Misfit, ...] = (),
) -> SchedulerSnapshot:
    waits = tuple(Wait(alias, since=float(n)) for n, alias in enumerate(waiting))
    now = waited + len(waits)
    return SchedulerSnapshot(now, max_loaded=max_loaded, engines=engines, waiting=waits, misfits=frozenset(misfits))


def test_ready_engine_grants() -> None:
    """Case 1: whoever waits for a READY engine gets it, once for all waiters."""
    assert decide(snapshot(EngineView("a", EngineState.READY), waiting=("a", "a"))) == [Grant("a")]


def test_start_is_joined() -> None:
    """Case 2: a second request for an engine that starts does nothing more."""
    assert decide(snapshot(EngineView("a", EngineState.STARTING), waiting=("a", "a"))) == []


def test_backoff_and_fatal_refuse() -> None:
    """Case 3: nobody waits for an engine that will not come up now."""
    for state in (EngineState.BACKOFF, EngineState.FATAL):
        assert decide(snapshot(EngineView("a", state, retry_at=9), waiting=("a",))) == [Refuse("a")]


def test_a_backoff_that_is_over_is_waited_for() -> None:
    """Case 3: the engine is STOPPED in a moment, and starts then."""
    assert decide(snapshot(EngineView("a", EngineState.BACKOFF, retry_at=1), waiting=("a",))) == []


@pytest.mark.parametrize(("seconds", "actions"), [(SHORT_BACKOFF_S, []), (SHORT_BACKOFF_S + 1, [Refuse("a")])])
def test_a_short_backoff_of_what_may_come_up_is_waited_for(seconds: float, actions: list[Action]) -> None:
    """Case 3: it can start, so that whoever waits a moment is served."""
    now = snapshot(waiting=("a",)).now
    engine = EngineView("a", EngineState.BACKOFF, retry_at=now + seconds, may_come_up=True)
    assert decide(snapshot(engine, waiting=("a",))) == actions
    assert decide(snapshot(replace(engine, may_come_up=False), waiting=("a",))) == [Refuse("a")]


def test_want_of_memory_makes_the_least_recently_used_idle_engine_move() -> None:
    """Case 4: though places are free; a busy one stays while the wait is short, and the start is tried again then."""
    short = EngineView("c", EngineState.BACKOFF, retry_at=9, wants_memory=True)
    old = EngineView("old", EngineState.READY, last_used=1)
    new = EngineView("new", EngineState.READY, last_used=2)
    busy = EngineView("busy", EngineState.READY, in_flight=1)
    assert decide(snapshot(old, new, busy, short, waiting=("c",), max_loaded=9)) == [Drain("old", "c")]
    assert decide(snapshot(busy, short, waiting=("c",), max_loaded=9)) == []
    waited = PATIENCE_S + 1
    assert decide(snapshot(busy, short, waiting=("c",), max_loaded=9, waited=waited)) == [Drain("busy", "c")]
    assert decide(snapshot(EngineView("a", EngineState.DRAINING), new, short, waiting=("c",), max_loaded=9)) == []
    assert decide(snapshot(new, replace(short, room_made=True), waiting=("c",), max_loaded=9)) == [Retry("c")]
    assert decide(snapshot(short, waiting=("c",), max_loaded=9)) == [Refuse("c")]


def test_engines_that_do_not_fit_together_take_turns() -> None:
    """Case 7: a free place is of no use beside the other."""
    a, c = (EngineView(alias, EngineState.READY) for alias in "ac")
    stopped = EngineView("b", EngineState.STOPPED)
    pair, three = frozenset("ab"), frozenset("abc")
    assert decide(snapshot(a, stopped, waiting=("b",), max_loaded=9, misfits=(pair,))) == [Drain("a", "b")]
    assert decide(snapshot(c, stopped, waiting=("b",), max_loaded=9, misfits=(pair, three))) == [Start("b")]
    assert decide(snapshot(a, c, stopped, waiting=("b",), max_loaded=9, misfits=(three,))) == [Drain("a", "b")]
    leaving = replace(a, state=EngineState.STOPPING)
    assert decide(snapshot(leaving, stopped, waiting=("b",), max_loaded=9, misfits=(pair,))) == []
    both = (replace(a, state=EngineState.STOPPED), stopped)
    assert decide(snapshot(*both, waiting=("b", "a"), max_loaded=9, misfits=(pair,))) == [Start("b")]


def test_leaving_engine_is_waited_for() -> None:
    """Case 5: an engine that is on its way out is neither granted nor started."""
    for state in (EngineState.DRAINING, EngineState.STOPPING):
        assert decide(snapshot(EngineView("a", state), waiting=("a",))) == []


def test_stopped_engine_starts_in_a_free_place() -> None:
    """Case 6: a free place is used, and only as many starts as there are places."""
    engines = (EngineView("a", EngineState.STOPPED), EngineView("b", EngineState.STOPPED))
    assert decide(snapshot(*engines, waiting=("b", "a"), max_loaded=1)) == [Start("b")]
    assert decide(snapshot(*engines, waiting=("b", "a"), max_loaded=2)) == [Start("b"), Start("a")]


def test_least_recently_used_idle_engine_makes_room() -> None:
    """Case 7: of two idle engines the one that was used longer ago is drained."""
    engines = (
        EngineView("old", EngineState.READY, last_used=1),
        EngineView("new", EngineState.READY, last_used=2),
        EngineView("c", EngineState.STOPPED),
    )
    assert decide(snapshot(*engines, waiting=("c",), max_loaded=2)) == [Drain("old", "c")]


def test_evict_waits_for_in_flight() -> None:
    """A busy engine is left alone while the wait is short."""
    engines = (EngineView("a", EngineState.READY, in_flight=1), EngineView("b", EngineState.STOPPED))
    assert decide(snapshot(*engines, waiting=("b",))) == []


def test_steady_traffic_cannot_shut_out_another_alias() -> None:
    """Out of patience, the busy engine takes no new leases, even if somebody waits for it too."""
    engines = (EngineView("a", EngineState.READY, in_flight=3), EngineView("b", EngineState.STOPPED))
    assert decide(snapshot(*engines, waiting=("b",), waited=PATIENCE_S + 1)) == [Drain("a", "b")]


def test_one_place_being_cleared_serves_one_waiter() -> None:
    """A second eviction is not begun for a place that is being cleared already, but is for a second waiter."""
    engines = (
        EngineView("a", EngineState.DRAINING),
        EngineView("b", EngineState.READY),
        EngineView("c", EngineState.STOPPED),
        EngineView("d", EngineState.STOPPED),
    )
    assert decide(snapshot(*engines, waiting=("c",), max_loaded=2)) == []
    assert decide(snapshot(*engines, waiting=("c", "d"), max_loaded=2)) == [Drain("b", "d")]


ALIASES = ("a", "b", "c", "d")
VIEWS = st.tuples(
    *(
        st.builds(
            EngineView,
            st.just(alias),
            st.sampled_from(EngineState),
            st.integers(0, 3),
            st.floats(0, 100),
            st.floats(0, 300),
            st.booleans(),
            st.booleans(),
        )
        for alias in ALIASES
    )
)
SNAPSHOTS = st.builds(
    SchedulerSnapshot,
    now=st.floats(100, 200),
    max_loaded=st.integers(1, 4),
    engines=VIEWS,
    waiting=st.lists(st.builds(Wait, st.sampled_from(ALIASES), st.floats(0, 200))).map(tuple),
    misfits=st.frozensets(st.frozensets(st.sampled_from(ALIASES), min_size=2)),
)


@given(SNAPSHOTS)
def test_every_decision_is_within_bounds(case: SchedulerSnapshot) -> None:
    """Never more starts than free places, no verb to an engine that cannot take it, nothing said twice."""
    actions = decide(case)
    states = {engine.alias: engine.state for engine in case.engines}
    free = case.max_loaded - sum(state in OCCUPYING for state in states.values())
    assert len(actions) == len(set(actions))
    assert sum(isinstance(action, Start) for action in actions) <= max(free, 0)
    waiting = {wait.alias for wait in case.waiting}
    expected = {
        Grant: {EngineState.READY},
        Start: {EngineState.STOPPED},
        Drain: {EngineState.READY},
        Retry: {EngineState.BACKOFF},
        Refuse: {EngineState.BACKOFF, EngineState.FATAL},
    }
    for action in actions:
        assert states[action.alias] in expected[type(action)]
        assert isinstance(action, Drain) or action.alias in waiting


@given(SNAPSHOTS)
def test_nobody_is_granted_a_place_that_is_being_cleared(case: SchedulerSnapshot) -> None:
    """An engine is not granted after it was told to drain in the same decision."""
    drained: set[str] = set()
    for action in decide(case):
        if isinstance(action, Drain):
            drained.add(action.alias)
        elif isinstance(action, Grant):
            assert action.alias not in drained


@given(SNAPSHOTS)
def test_nothing_starts_beside_what_it_does_not_fit(case: SchedulerSnapshot) -> None:
    """Of all that was found not to fit together, one is always left out."""
    up = {engine.alias for engine in case.engines if engine.state in OCCUPYING}
    for action in decide(case):
        if isinstance(action, Start):
            up.add(action.alias)
            assert not any(action.alias in misfit and misfit <= up for misfit in case.misfits)
