"""The policy's eight cases, and what must hold for every snapshot."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scheduler.policy import decide, decide_with_reasons, next_look
from app.scheduler.snapshot import (
    PATIENCE_S,
    SHORT_BACKOFF_S,
    Action,
    Drain,
    EngineView,
    Grant,
    Misfit,
    NoRoom,
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


def ready(alias: str, **more: object) -> EngineView:
    return EngineView(alias, EngineState.READY, **more)  # type: ignore[arg-type]


B = EngineView("b", EngineState.STOPPED)
LATER = PATIENCE_S + 1


def test_what_costs_least_to_load_again_makes_room_first() -> None:
    """Idle time counts in units of the last load's time; the priority comes before both."""
    quick, slow = ready("quick", last_used=90, load_seconds=1), ready("slow", last_used=50, load_seconds=60)
    case = snapshot(quick, slow, B, max_loaded=2)
    case = replace(case, now=100.0, waiting=(Wait("b", 99.5),))
    assert decide(case) == [Drain("quick", "b")]
    low = replace(slow, priority=-1)
    assert decide(replace(case, engines=(quick, low, B))) == [Drain("slow", "b")]


def test_a_pinned_engine_never_makes_room() -> None:
    """Neither for another model nor for the clock; with nothing else in the way there is no use in waiting."""
    pinned, idle = ready("p", pinned=True, unload_at=0), ready("i", last_used=9)
    assert decide(snapshot(pinned, idle, B, waiting=("b",), max_loaded=2, waited=LATER)) == [Drain("i", "b")]
    [refused] = decide(snapshot(pinned, B, waiting=("b",), waited=LATER))
    assert (refused, refused.why) == (NoRoom("b"), "'p' is pinned and in its way")  # type: ignore[union-attr]
    starting = EngineView("p", EngineState.STARTING, pinned=True)
    assert decide(snapshot(starting, B, waiting=("b",))) == []  # it may yet fail


def test_an_exclusive_engine_clears_the_house() -> None:
    """All of the others, each as soon as it may go; nobody behind takes the places that come free."""
    alone = EngineView("x", EngineState.STOPPED, exclusive=True)
    one, busy = ready("one"), ready("busy", in_flight=1)
    case = snapshot(one, busy, alone, B, waiting=("x", "b"), max_loaded=9)
    assert decide(case) == [Drain("one", "x")]
    assert decide(replace(case, now=LATER + 2)) == [Drain("one", "x"), Drain("busy", "x")]
    assert decide(snapshot(alone, B, waiting=("x", "b"), max_loaded=9)) == [Start("x")]
    up = replace(alone, state=EngineState.READY)
    assert decide(snapshot(up, B, waiting=("b",), max_loaded=9)) == [Drain("x", "b")]
    pinned = ready("p", pinned=True)
    assert decide(snapshot(one, pinned, alone, waiting=("x",), max_loaded=9)) == [NoRoom("x")]


def test_a_ttl_ends_the_stay_of_an_idle_engine_alone() -> None:
    """To the moment; and the clock is looked at again when the next one ends."""
    over = {"a": ready("a", unload_at=10.0), "busy": ready("busy", unload_at=10.0, in_flight=1)}
    case = SchedulerSnapshot(9.9, 9, tuple(over.values()), ())
    assert (decide(case), next_look(case)) == ([], 10.0)
    assert decide(replace(case, now=10.0)) == [Drain("a", "")]
    assert decide(replace(case, now=10.0, waiting=(Wait("a", 9.0),))) == [Grant("a")]


def test_a_minimum_residency_holds_against_those_who_wait_only() -> None:
    """An engine that has answered since they wait keeps its place for four loads, half of max_wait at the most."""
    wait = (Wait("b", 10.0),)
    used = ready("a", last_used=11.0, ready_at=10.5, load_seconds=1.0)
    for now, drained in ((12.0, False), (14.4, False), (14.6, True)):
        case = SchedulerSnapshot(now, 1, (used, B), wait)
        assert bool(decide(case)) is drained
    assert next_look(SchedulerSnapshot(12.0, 1, (used, B), wait)) == 14.5
    untouched = replace(used, last_used=9.0)
    assert decide(SchedulerSnapshot(12.0, 1, (untouched, B), wait)) == [Drain("a", "b")]
    heavy = replace(used, load_seconds=600.0, in_flight=1)
    assert decide(SchedulerSnapshot(10.5 + 14.9, 1, (heavy, B), wait)) == []
    assert decide(SchedulerSnapshot(10.5 + 15.1, 1, (heavy, B), wait)) == [Drain("a", "b")]


def test_a_higher_priority_comes_first_until_somebody_has_waited_too_long() -> None:
    """Then age alone counts: nobody is overtaken for ever."""
    stopped = tuple(EngineView(alias, EngineState.STOPPED) for alias in "abc")
    waiting = (Wait("a", 10.0), Wait("b", 12.0, priority=5), Wait("c", 11.0))
    assert decide(SchedulerSnapshot(13.0, 1, stopped, waiting)) == [Start("b")]
    assert decide(SchedulerSnapshot(40.5, 1, stopped, waiting)) == [Start("a")]


def test_nobody_takes_a_place_that_somebody_before_waits_for() -> None:
    """Though it would be free at once for the later one."""
    busy = ready("busy", last_used=20.0, ready_at=19.9, load_seconds=9.0)
    others = tuple(EngineView(alias, EngineState.STOPPED) for alias in "bc")
    case = SchedulerSnapshot(22.0, 1, (busy, *others), (Wait("b", 10.0), Wait("c", 21.0)))
    assert decide(case) == []


RESIDENTS = st.tuples(
    *(
        st.builds(
            EngineView,
            st.just(alias),
            st.sampled_from(EngineState),
            st.integers(0, 2),
            st.floats(0, 100),
            pinned=st.booleans(),
            exclusive=st.booleans(),
            priority=st.integers(-1, 1),
            unload_at=st.floats(50, 250),
            load_seconds=st.floats(0, 60),
            ready_at=st.floats(0, 200),
        )
        for alias in ALIASES
    )
)


@given(RESIDENTS, st.lists(st.builds(Wait, st.sampled_from(ALIASES), st.floats(0, 200))), st.integers(1, 4))
def test_pins_and_exclusive_engines_are_kept_to(
    engines: tuple[EngineView, ...], waiting: list[Wait], places: int
) -> None:
    """Whatever is asked for: no pinned engine goes, and nothing starts beside an exclusive one."""
    case = SchedulerSnapshot(200.0, places, engines, tuple(waiting))
    by_alias = {engine.alias: engine for engine in engines}
    up = {engine.alias for engine in engines if engine.state in OCCUPYING}
    for action in decide(case):
        engine = by_alias[action.alias]
        if isinstance(action, Drain):
            assert not engine.pinned and (action.room_for or not engine.in_flight)
            since = [wait.since for wait in waiting if wait.alias == action.room_for]
            assert not engine.in_flight or 200.0 - min(since) >= case.patience
        if isinstance(action, Start):
            assert not any(by_alias[other].exclusive for other in up) and not (engine.exclusive and up)
            up.add(action.alias)
    assert next_look(case) > 200.0


def why(case: SchedulerSnapshot) -> dict[str, str]:
    return {blocked.alias: blocked.why for blocked in decide_with_reasons(case)[1]}


def test_a_wait_is_told_with_who_is_in_its_way() -> None:
    """After a second; the same reason in other figures is the same reason."""
    busy = ready("a", in_flight=2, busy_since=1.0, ready_at=0.0)
    pinned, c = ready("p", pinned=True), EngineView("c", EngineState.STOPPED)
    waits = (Wait("b", 10.0), Wait("c", 11.0))
    case = SchedulerSnapshot(12.5, 2, (busy, pinned, B, c), waits)
    assert why(case) == {
        "b": "a is busy with 2 for 12 s; p is pinned",
        "c": "b waits for a place before it",
    }
    assert why(replace(case, now=10.9)) == {}
    assert next_look(replace(case, now=10.9)) == 11.0
    later = replace(case, now=13.5, engines=(replace(busy, in_flight=1), pinned, B, c))
    assert decide_with_reasons(later)[1] == decide_with_reasons(case)[1]
    leaving = replace(case, engines=(replace(busy, state=EngineState.DRAINING), pinned, B, c))
    assert why(leaving)["b"] == "a is draining, busy with 2"
    assert decide_with_reasons(leaving)[1] != decide_with_reasons(case)[1]


def test_a_wait_for_memory_and_for_a_load_is_told() -> None:
    """Who holds the memory, who loads onto the device, and an engine that has to end before it can start again."""
    holder = ready("a", in_flight=1, busy_since=90.0, ready_at=99.0, load_seconds=1.0, needs={"CUDA0": 6})
    b = replace(B, needs={"CUDA0": 6})
    case = SchedulerSnapshot(100.0, 9, (holder, b), (Wait("b", 98.0),), budgets={"CUDA0": 10})
    assert why(case) == {
        "b": "it needs 0.01 MiB on CUDA0; a is busy with 1 for 10 s, and stays 3.0 s more since it came up a moment ago"
    }
    loads = EngineView("a", EngineState.STARTING, needs={"CUDA0": 2})
    assert why(replace(case, engines=(loads, b))) == {"b": "a is starting"}
    ends = EngineView("b", EngineState.DRAINING, in_flight=1)
    assert why(replace(case, engines=(ends,))) == {"b": "b is draining, busy with 1"}
