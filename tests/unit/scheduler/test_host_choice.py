"""Which machine an engine starts on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.scheduler.demand import UNUSED
from app.scheduler.policy import decide, decide_with_reasons
from app.scheduler.room import UNCAPPED
from app.scheduler.snapshot import (
    Action,
    Drain,
    EngineView,
    HostOffer,
    HostView,
    NoHost,
    NoMemory,
    NoRoom,
    Refuse,
    Retry,
    SchedulerSnapshot,
    Start,
    Wait,
)
from app.supervisor.states import OCCUPYING, EngineState

READY, STOPPED, STARTING = EngineState.READY, EngineState.STOPPED, EngineState.STARTING
SIZES = {"a": 10, "b": 20, "c": 20}


def up(alias: str, host: str, size: int, state: EngineState = READY, **more: object) -> EngineView:
    needs = {f"node {host}": 1, f"{host}/CUDA0": size}
    return EngineView(alias, state, node=host, needs=needs, **more)  # type: ignore[arg-type]


def wants(size: int, *hosts: str, refused: Mapping[str, str] = {}, alias: str = "n", **more: object) -> EngineView:
    offers = [HostOffer(host, {f"node {host}": 1, f"{host}/CUDA0": size}) for host in hosts]
    offers += [HostOffer(host, refusal=why) for host, why in refused.items()]
    return EngineView(alias, STOPPED, offers=tuple(offers), **more)  # type: ignore[arg-type]


def snapshot(
    *engines: EngineView, waits: str = "n", away: str = "", doubted: str = "", since: float = 99.0
) -> SchedulerSnapshot:
    hosts = {name: HostView(name, live=name not in doubted) for name in SIZES if name not in away}
    budgets = {f"{name}/CUDA0": size for name, size in SIZES.items()}
    waiting = [Wait(alias, since) for alias in waits]
    return SchedulerSnapshot(100.0, UNCAPPED, engines, waiting, budgets=budgets, hosts=hosts)


def decided(*engines: EngineView, **more: str) -> list[Action]:
    return decide(snapshot(*engines, **more))  # type: ignore[arg-type]


def test_where_it_ran_last_comes_first_then_the_most_free_memory() -> None:
    assert decided(wants(5, "a", "b", ran_on=("a",))) == [Start("n", "a")]
    assert decided(wants(5, "a", "b", "c", ran_on=("c", "a"))) == [Start("n", "c")]
    assert decided(wants(5, "a", "b")) == [Start("n", "b")]
    assert decided(up("x", "b", 15), wants(5, "a", "b")) == [Start("n", "a")]
    assert decided(up("x", "b", 16), wants(5, "a", "b", ran_on=("b",))) == [Start("n", "a")], "there is no room"


def test_a_little_more_memory_decides_nothing() -> None:
    """Of machines that are about equal, the one with the fewest engines is taken, then this one, then by name."""
    assert decided(up("x", "b", 1), wants(5, "b", "c")) == [Start("n", "c")]
    assert decided(up("x", "b", 1), up("y", "c", 0), wants(5, "b", "c")) == [Start("n", "b")]
    assert decided(up("x", "b", 2), up("y", "c", 0), wants(5, "b", "c")) == [Start("n", "c")]
    equal = snapshot(wants(5, "b", "local"))
    hosts, budgets = {**equal.hosts, "local": HostView("local")}, {**equal.budgets, "local/CUDA0": 20}
    equal = replace(equal, hosts=hosts, budgets=budgets)
    assert decide(equal) == [Start("n", "local")]


def test_a_start_says_where_and_why() -> None:
    [start] = decided(wants(5, "a"))
    assert start.inputs.startswith("on a; needs ") and "of a/CUDA0" in start.inputs  # type: ignore[union-attr]


def test_two_starts_at_once_see_each_other() -> None:
    both = wants(12, "b", "c"), wants(12, "b", "c", alias="m")
    assert decided(*both, waits="nm") == [Start("n", "b"), Start("m", "c")]


def test_a_machine_that_is_away_or_refuses_is_left_out() -> None:
    assert decided(wants(5, "a", "b", ran_on=("b",)), away="b") == [Start("n", "a")]
    assert decided(wants(5, "a", refused={"b": "no file"}, ran_on=("b",))) == [Start("n", "a")]
    [refused] = decided(wants(5, "a", refused={"b": "its build does not know qwen9"}), away="a")
    assert refused == NoHost("n") and refused.why == "a is away; b: its build does not know qwen9"  # type: ignore[union-attr]


def test_a_machine_that_has_missed_a_beat_is_waited_for() -> None:
    """Before an engine leaves or a request is refused; not if another machine has room."""
    assert decided(wants(5, "a", "b", ran_on=("b",)), doubted="b") == [Start("n", "a")]
    assert decided(wants(5, "b"), doubted="b") == []
    assert decided(up("x", "a", 10, last_used=1.0), wants(5, "a", "b"), doubted="b") == []
    assert decided(up("x", "a", 10, last_used=1.0), up("y", "b", 20), wants(5, "a", "b"), doubted="b") == [
        Drain("x", "n")
    ]
    _, [blocked] = decide_with_reasons(snapshot(wants(5, "b"), doubted="b", since=10.0))
    assert blocked.why == "b has missed a beat"


def test_a_machine_without_the_device_is_for_engines_that_no_other_can_run() -> None:
    on_host = HostOffer("a", {"node a": 1, "a/host": 5})
    both = wants(5, "b")
    assert decided(replace(both, offers=(on_host, *both.offers), ran_on=("a",))) == [Start("n", "b")]
    assert decided(replace(both, offers=(on_host, *both.offers)), away="b") == [Start("n", "a")]


def test_a_machine_where_its_memory_is_unknown_is_like_the_others() -> None:
    """It ran on `a`, and has been measured there; `c` has no figures for it."""
    known, unknown = HostOffer("a", {"node a": 1, "a/host": 5}), HostOffer("c", {"node c": 1, "c/host": 0})
    on_device = wants(5, "b").offers[0]
    ran = EngineView("n", STOPPED, offers=(known, unknown), ran_on=("a",))
    assert decided(ran) == [Start("n", "a")]
    assert decided(replace(ran, offers=(known, unknown, on_device))) == [Start("n", "b")]


def test_a_load_on_the_device_is_no_reason_to_wait_for_it() -> None:
    """While another machine has room; nor to evict."""
    loading = up("x", "b", 5, STARTING)
    assert decided(loading, wants(5, "b", "c", ran_on=("b",))) == [Start("n", "c")]
    assert decided(loading, up("y", "a", 10), wants(5, "a", "b")) == []


def test_room_is_made_where_it_costs_least() -> None:
    """An idle engine leaves, not a busy one; and what is leaving already is waited for."""
    full = up("x", "b", 20, last_used=50.0), up("y", "c", 20, in_flight=1)
    assert decided(*full, wants(5, "b", "c", ran_on=("c",))) == [Drain("x", "n")]
    often = replace(full[0], demand=UNUSED.asked(10.0).asked(40.0).asked(90.0)), up("y", "c", 20, last_used=95.0)
    assert decided(*often, wants(5, "b", "c")) == [Drain("y", "n")]
    leaving = up("x", "b", 20, EngineState.STOPPING), up("y", "c", 20, last_used=10.0)
    assert decided(*leaving, wants(5, "b", "c")) == []


def test_a_request_is_refused_if_no_machine_can_help() -> None:
    assert decided(wants(30, "b", "c")) == [NoMemory("n")]
    assert decided(up("x", "b", 20, pinned=True), wants(15, "b", refused={"c": "no file"})) == [NoRoom("n")]
    assert decided(up("x", "b", 20, pinned=True), wants(15, "a", "b", "c")) == [Start("n", "c")]
    assert decided(up("x", "b", 20, pinned=True), up("y", "c", 20), wants(15, "a", "b", "c")) == [Drain("y", "n")]


def test_a_start_that_ran_out_of_memory_goes_where_there_is_some() -> None:
    """And waits for room on its machine otherwise."""
    failed = replace(wants(5, "b", "c"), state=EngineState.BACKOFF, wants_memory=True, retry_at=200.0, node="b")
    failed = replace(failed, needs=failed.offers[0].needs)
    assert decided(up("x", "b", 10), failed) == [Retry("n")]
    assert decided(up("x", "b", 16, last_used=1.0), up("y", "c", 16), failed) == [Drain("x", "n")]
    assert decided(up("y", "c", 16), replace(failed, offers=failed.offers[1:])) == [Refuse("n")]


# -- whatever the cluster is like ------------------------------------------------------------------------------------

_NAMES = ("box1", "box2", "box3", "local")


@st.composite
def clusters(draw: st.DrawFn) -> SchedulerSnapshot:
    hosts = {name: HostView(name, live=draw(st.booleans()) or draw(st.booleans())) for name in _NAMES}
    budgets = {f"{name}/{place}": draw(st.integers(0, 12)) for name in _NAMES for place in ("host", "CUDA0")}
    budgets |= {f"node {name}": draw(st.integers(1, 3)) for name in _NAMES}
    engines: list[EngineView] = []
    held: Counter[str] = Counter()
    for number in range(draw(st.integers(0, 6))):
        node = draw(st.sampled_from(_NAMES))
        needs = {f"node {node}": 1, f"{node}/CUDA0": draw(st.integers(0, 6)), f"{node}/host": draw(st.integers(0, 6))}
        if any(held[name] + size > budgets[name] for name, size in needs.items()):
            continue
        held.update(needs)
        state = draw(st.sampled_from([READY, READY, STARTING, EngineState.DRAINING]))
        engines.append(
            EngineView(
                f"up{number}",
                state,
                in_flight=draw(st.integers(0, 1)),
                last_used=draw(st.floats(0, 99)),
                pinned=draw(st.booleans()) and draw(st.booleans()),
                exclusive=draw(st.booleans()) and draw(st.booleans()) and not any(e.node == node for e in engines),
                node=node,
                needs=needs,
            )
        )
    waits = []
    for number in range(draw(st.integers(1, 5))):
        offers = []
        for node in draw(st.lists(st.sampled_from(_NAMES), unique=True)):
            if draw(st.integers(0, 3)) == 0:
                offers.append(HostOffer(node, refusal="its build does not know the architecture"))
                continue
            sizes = {f"{node}/CUDA0": draw(st.integers(0, 8)), f"{node}/host": draw(st.integers(0, 8))}
            offers.append(HostOffer(node, {f"node {node}": 1} | sizes))
        ran_on = tuple(draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=2)))
        alone = draw(st.integers(0, 7)) == 0
        engines.append(EngineView(f"w{number}", STOPPED, offers=tuple(offers), ran_on=ran_on, exclusive=alone))
        waits.append(Wait(f"w{number}", draw(st.floats(0, 100)), draw(st.integers(0, 1))))
    return SchedulerSnapshot(100.0, UNCAPPED, engines, waits, budgets=budgets, hosts=hosts)


@given(clusters())
@settings(max_examples=300)
def test_a_start_is_where_the_engine_can_run_and_fits(now: SchedulerSnapshot) -> None:
    """Never above a budget, on a machine that is away, that its entry does not name, or that refuses it."""
    views = {engine.alias: engine for engine in now.engines}
    held: Counter[str] = Counter()
    for engine in views.values():
        if engine.state in OCCUPYING:
            held.update(engine.needs)
    for action in decide(now):
        if not isinstance(action, Start):
            continue
        offer = next(offer for offer in views[action.alias].offers if offer.host == action.host)
        assert not offer.refusal and now.hosts[action.host].live
        held.update(offer.needs)
        assert all(held[name] <= now.budgets[name] for name in offer.needs)
        beside = [e for e in views.values() if e.node == action.host and e.state in OCCUPYING]
        assert not any(engine.exclusive for engine in beside)
        assert not (views[action.alias].exclusive and beside)


@given(clusters(), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_the_order_of_machines_decides_nothing(now: SchedulerSnapshot, chance: random.Random) -> None:
    names = list(now.hosts)
    chance.shuffle(names)
    shuffled = []
    for engine in now.engines:
        offers = list(engine.offers)
        chance.shuffle(offers)
        shuffled.append(replace(engine, offers=tuple(offers)))
    again = replace(now, hosts={name: now.hosts[name] for name in names}, engines=shuffled)
    assert decide(again) == decide(now)


@given(clusters())
@settings(max_examples=200)
def test_who_gets_room_starts_there(now: SchedulerSnapshot) -> None:
    """Once the engines are gone that were to leave for it, nobody else leaves for it."""
    first = [wait.alias for wait in sorted(now.waiting, key=lambda wait: (-wait.priority, wait.since))][:1]
    alone = replace(now, waiting=[wait for wait in now.waiting if wait.alias in first])
    engines = {engine.alias: engine for engine in alone.engines}
    actions = decide_with_reasons(alone)[0]
    drained = [action for action in actions if isinstance(action, Drain) and action.room_for in first]
    if not drained or any(engines[action.alias].in_flight for action in drained):
        return
    node = engines[drained[0].alias].node
    for action in drained:
        engines[action.alias] = replace(engines[action.alias], state=STOPPED, needs={}, node="")
    engines[first[0]] = replace(engines[first[0]], node=node)
    later = decide(replace(alone, engines=list(engines.values())))
    mine = [action for action in later if action.alias in first or getattr(action, "room_for", "") in first]
    # It waits if another engine there is still loading or leaving
    assert mine in ([Start(first[0], node)], [])


@pytest.mark.parametrize("stuck", [40, 80])
def test_a_full_cluster_is_looked_at_for_some_requests_only(stuck: int) -> None:
    full = [up("x", "b", 20, in_flight=1), up("y", "c", 20, in_flight=1), up("z", "a", 10, in_flight=1)]
    waits = [wants(5, "a", "b", "c", alias=f"w{number}") for number in range(stuck)]
    now = snapshot(*full, *waits, waits="")
    now = replace(now, waiting=[Wait(engine.alias, 98.0 + at / 1000) for at, engine in enumerate(waits)])
    actions, blocked = decide_with_reasons(now)
    assert not actions and 1 <= len(blocked) <= 16
