"""What the scheduler knows of machines and engines there, and how the policy makes room on one of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.scheduler.node_places import NodePlaces, is_host_memory
from app.scheduler.policy import decide, decide_with_reasons
from app.scheduler.snapshot import Drain, EngineView, HostOffer, HostView, SchedulerSnapshot, Start, Wait
from app.supervisor.states import EngineState

READY, STOPPED = EngineState.READY, EngineState.STOPPED
BOXES = {name: HostView(name) for name in ("box1", "box2", "local")}


def test_the_machines_of_an_engine_are_remembered() -> None:
    """Where it runs, where it ran, the last one first, and what each says of it."""
    places = NodePlaces(most=lambda name: 1 if name == "box1" else None)
    places.be_there(BOXES.values())
    assert places.budgets() == {"node box1": 1}, "memory alone decides on the others"
    places.offered("a", [HostOffer("box1", {"host": 5}), HostOffer("box2", refusal="no file")])
    known = places.of("a")
    assert known.offers["box1"].needs == {"node box1": 1, "box1/host": 5} and known.offers["box2"].needs == {}
    assert places.renewed() == {"a"} and places.renewed() == set()
    places.starts_on("a", "box1")
    assert (places.node_of("a"), places.chosen("a")) == ("box1", "box1")
    places.ended("a", stopped=False)
    assert (places.node_of("a"), places.chosen("a")) == ("box1", ""), "it failed there"
    places.ended("a", stopped=True)
    places.starts_on("a", "box2")
    places.ended("a", stopped=True)
    assert places.of("a").ran_on == ("box2", "box1") and places.node_of("a") == ""
    places.forget("a")
    assert places.of("a").ran_on == ()


def test_a_machine_on_which_it_cannot_start_is_remembered() -> None:
    places = NodePlaces()
    places.failed("a", "it is unknown")
    places.starts_on("a", "box1")
    places.failed("a", "no such flag")
    places.ended("a", stopped=False)
    assert places.of("a").failed == {"box1": "no such flag"}
    places.try_again("a")
    assert places.of("a").failed == {}


def test_the_memory_of_a_machine_is_no_device() -> None:
    assert is_host_memory("host") and is_host_memory("box1/host")
    assert not is_host_memory("box1/CUDA0") and not is_host_memory("node host")


def on(alias: str, node: str, state: EngineState = READY, **more: object) -> EngineView:
    return EngineView(alias, state, node=node, needs={f"node {node}": 1}, **more)  # type: ignore[arg-type]


def waiting(alias: str, *nodes: str, **more: object) -> EngineView:
    offers = tuple(HostOffer(node, {f"node {node}": 1}) for node in nodes)
    return EngineView(alias, STOPPED, offers=offers, **more)  # type: ignore[arg-type]


def snapshot(*engines: EngineView, waits: str, **more: object) -> SchedulerSnapshot:
    budgets = {f"node {name}": 1 for name in BOXES}
    requests = [Wait(alias, 99.0) for alias in waits]
    return SchedulerSnapshot(100.0, 1 << 30, engines, requests, budgets=budgets, hosts=BOXES, **more)  # type: ignore[arg-type]


def test_room_is_made_on_the_machine_and_nowhere_else() -> None:
    idle = (on("a", "box1"), on("b", "box2"), on("c", "local"))
    actions, _ = decide_with_reasons(snapshot(*idle, waiting("n", "box2"), waits="n"))
    assert actions == [Drain("b", "n")]
    assert "frees a place on node box2" in actions[0].why  # type: ignore[union-attr]


def test_an_exclusive_engine_excludes_those_of_its_machine() -> None:
    alone = waiting("n", "box1", exclusive=True)
    assert decide(snapshot(on("a", "local"), on("b", "box2"), alone, waits="n")) == [Start("n", "box1")]
    busy = on("a", "box1", in_flight=1)
    assert decide(snapshot(busy, alone, waiting("m", "box1", "box2"), waits="nm")) == [Start("m", "box2")]
    assert decide(snapshot(on("a", "box1", exclusive=True), waiting("n", "box1"), waits="n")) == [Drain("a", "n")]
    both = waiting("n", "box1", "box2")
    assert decide(snapshot(on("a", "box1", exclusive=True), both, waits="n")) == [Start("n", "box2")]


@given(
    up=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(sorted(BOXES))),
    offered=st.dictionaries(
        st.sampled_from("uvwxyz"), st.lists(st.sampled_from(sorted(BOXES)), min_size=1, unique=True), min_size=1
    ),
)
def test_no_start_exceeds_the_places_of_a_machine(up: dict[str, str], offered: dict[str, list[str]]) -> None:
    running = {alias: node for at, (alias, node) in enumerate(up.items()) if node not in list(up.values())[:at]}
    engines = [on(alias, node) for alias, node in running.items()]
    engines += [waiting(alias, *nodes) for alias, nodes in offered.items()]
    actions = decide(snapshot(*engines, waits="".join(offered)))
    started = [action.host for action in actions if isinstance(action, Start)]
    taken = [*running.values(), *started]
    assert all(taken.count(machine) <= 1 for machine in BOXES)
