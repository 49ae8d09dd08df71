"""Which node an engine starts on, and how the policy makes room on it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.scheduler.node_places import NodePlaces, NodeRoom, choose_node
from app.scheduler.policy import decide, decide_with_reasons
from app.scheduler.snapshot import Drain, EngineView, SchedulerSnapshot, Start, Wait
from app.supervisor.states import EngineState

READY, STOPPED = EngineState.READY, EngineState.STOPPED


def test_a_free_place_comes_first_then_the_last_node_then_the_most_room() -> None:
    assert choose_node([NodeRoom("a", 0), NodeRoom("b", 1)], before="a") == "b"
    assert choose_node([NodeRoom("a", 1), NodeRoom("b", 2)], before="a") == "a"
    assert choose_node([NodeRoom("a", 1), NodeRoom("b", 2)], before="c") == "b"
    assert choose_node([NodeRoom("b", 1), NodeRoom("a", 1)], before="") == "a"


def test_the_node_of_an_engine_counts_the_others_there() -> None:
    """Its own place there is free for it. A node that is gone has no places."""
    up = ["a", "b"]
    places = NodePlaces(most=lambda: 1, up=lambda: up)
    places.be_there(["box1", "box2"])
    assert places.place("a", ["box1", "box2"]) == "box1" and places.place("a", ["box1", "box2"]) == "box1"
    assert places.place("b", ["box1", "box2"]) == "box2"
    assert places.budgets() == {"node box1": 1, "node box2": 1} and places.needs("b") == {"node box2": 1}
    assert places.renewed() == {"a", "b"} and places.renewed() == set()
    places.be_there(["box2"])
    assert places.budgets() == {"node box2": 1} and places.place("a", ["box2"]) == "box2"
    places.here("a")
    assert (places.node_of("a"), dict(places.needs("a"))) == ("", {})


def on(alias: str, node: str, state: EngineState = READY, **more: object) -> EngineView:
    needs = {f"node {node}": 1} if node else {}
    return EngineView(alias, state, node=node, needs=needs, **more)  # type: ignore[arg-type]


def snapshot(*engines: EngineView, waits: str, **more: object) -> SchedulerSnapshot:
    budgets = {"node box1": 1, "node box2": 1}
    waiting = [Wait(alias, 99.0) for alias in waits]
    return SchedulerSnapshot(100.0, 1, engines, waiting, budgets=budgets, **more)  # type: ignore[arg-type]


def test_room_is_made_on_the_node_and_nowhere_else() -> None:
    idle = (on("a", "box1"), on("b", "box2"), on("c", ""))
    actions, _ = decide_with_reasons(snapshot(*idle, on("n", "box2", STOPPED), waits="n"))
    assert actions == [Drain("b", "n")]
    assert "frees a place on node box2" in actions[0].why  # type: ignore[union-attr]


def test_engines_of_nodes_take_no_place_of_this_machine() -> None:
    """And one of this machine none of a node."""
    assert decide(snapshot(on("a", "box1"), on("n", "", STOPPED), waits="n")) == [Start("n")]
    assert decide(snapshot(on("a", ""), on("n", "box1", STOPPED), waits="n")) == [Start("n")]


def test_an_exclusive_engine_excludes_those_of_its_machine() -> None:
    alone = on("n", "box1", STOPPED, exclusive=True)
    assert decide(snapshot(on("a", ""), on("b", "box2"), alone, waits="n")) == [Start("n")]
    assert decide(snapshot(on("a", "", exclusive=True), on("n", "box1", STOPPED), waits="n")) == [Start("n")]
    assert decide(snapshot(on("a", "box1", exclusive=True), on("n", "box1", STOPPED), waits="n")) == [Drain("a", "n")]


@given(
    up=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["", "box1", "box2"])),
    waits=st.sets(st.sampled_from("uvwxyz"), min_size=1).map(sorted),
    nodes=st.lists(st.sampled_from(["", "box1", "box2"]), min_size=6, max_size=6),
)
def test_no_start_exceeds_the_places_of_a_machine(up: dict[str, str], waits: list[str], nodes: list[str]) -> None:
    running = {alias: node for at, (alias, node) in enumerate(up.items()) if node not in list(up.values())[:at]}
    stopped = dict(zip("uvwxyz", nodes, strict=True))
    engines = [on(alias, node) for alias, node in running.items()]
    engines += [on(alias, node, STOPPED) for alias, node in stopped.items()]
    actions = decide(snapshot(*engines, waits="".join(waits)))
    started = [stopped[action.alias] for action in actions if isinstance(action, Start)]
    taken = [*running.values(), *started]
    assert all(taken.count(machine) <= 1 for machine in ("", "box1", "box2"))
