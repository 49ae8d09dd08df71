"""Which nodes the sidecar meets: names, restarts, and two nodes of one name."""

from __future__ import annotations

from app.cluster.roster import ListedNode, Roster


def node(id: str, name: str = "box1") -> ListedNode:
    return ListedNode(name, id, "10.0.0.11")


def test_each_new_node_is_met_once() -> None:
    roster = Roster()
    assert roster.look([node("1"), node("2", "box2")], {}, (), 0) == ([node("1"), node("2", "box2")], [])
    assert roster.look([node("1"), node("2", "box2")], {"box1": "1", "box2": "2"}, {"box1"}, 1) == ([], [])


def test_a_node_that_was_given_up_is_met_again() -> None:
    """It may be back after a cut, with the same id."""
    roster = Roster()
    roster.look([node("1")], {}, (), 0)
    assert roster.look([node("1")], {}, (), 5) == ([node("1")], [])


def test_a_node_that_is_started_again_takes_its_name_over() -> None:
    """Ray still lists the old one, which is met again in vain, or is already given up."""
    roster = Roster()
    roster.look([node("1")], {}, (), 0)
    assert roster.look([node("1"), node("2")], {}, (), 5) == ([node("2")], [])
    roster = Roster()
    roster.look([node("1")], {}, (), 0)
    assert roster.look([node("1"), node("2")], {"box1": "1"}, (), 5) == ([node("2")], [])
    assert roster.look([node("1"), node("2")], {"box1": "2"}, (), 6) == ([], [])


def test_two_nodes_of_one_name_are_told_after_a_while() -> None:
    """And the second takes over once the first has gone."""
    roster = Roster()
    roster.look([node("1")], {}, (), 0)
    both, serving = [node("1"), node("2")], {"box1": "1"}
    assert roster.look(both, serving, {"box1"}, 1) == ([], [])
    assert roster.look(both, serving, {"box1"}, 20) == ([], [])
    assert roster.look(both, serving, {"box1"}, 22) == ([], [node("2")])
    assert roster.look([node("2")], {}, (), 30) == ([node("2")], [])


def test_an_old_node_is_no_rival_of_the_one_that_took_over() -> None:
    """Ray lists it for some seconds only."""
    roster = Roster()
    roster.look([node("1")], {}, (), 0)
    roster.look([node("1"), node("2")], {}, (), 5)
    assert roster.look([node("1"), node("2")], {"box1": "2"}, {"box1"}, 10) == ([], [])
    assert roster.look([node("2")], {"box1": "2"}, {"box1"}, 20) == ([], [])
