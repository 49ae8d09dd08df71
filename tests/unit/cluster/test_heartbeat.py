"""A node is given up by the time of its silence, not by late answers or our own pauses."""

from __future__ import annotations

import pytest

from app.cluster.heartbeat import LOST_AFTER_S, SUSPECT_AFTER_S, Heartbeat, NodeHealth


def watched(answers: list[float], until: float, looks: list[float] | None = None) -> list[NodeHealth]:
    """What a look at each second says, of a node that answers at these times."""
    heartbeat = Heartbeat(0.0)
    health = []
    for look in looks or [float(second) for second in range(1, int(until) + 1)]:
        for answer in [answer for answer in answers if answer <= look]:
            heartbeat.answer(answer)
            answers.remove(answer)
        health.append(heartbeat.look(look))
    return health


def test_a_silent_node_is_suspect_then_lost() -> None:
    health = watched([0.1, 1.1], until=6)
    assert health[:3] == [NodeHealth.WELL] * 3
    assert health[3:] == [NodeHealth.SUSPECT, NodeHealth.LOST, NodeHealth.LOST]
    assert SUSPECT_AFTER_S < LOST_AFTER_S < 4


@pytest.mark.parametrize("late", [0.9, 1.8])
def test_late_answers_are_answers(late: float) -> None:
    """Each takes more than a beat, and they come all the same."""
    assert set(watched([second + late for second in range(20)], until=20)) == {NodeHealth.WELL}


def test_a_node_that_answers_again_is_well() -> None:
    health = watched([0.5, 3.5, 4.5], until=5)
    assert health == [NodeHealth.WELL, NodeHealth.WELL, NodeHealth.SUSPECT, NodeHealth.WELL, NodeHealth.WELL]


def test_a_pause_of_our_own_counts_for_no_node() -> None:
    """A gateway that did not run for a minute has not heard a minute of silence."""
    assert watched([0.5], until=0, looks=[1.0, 61.0]) == [NodeHealth.WELL, NodeHealth.SUSPECT]
    assert watched([0.5, 61.2], until=0, looks=[1.0, 61.0, 62.0])[-1] is NodeHealth.WELL
    assert watched([0.5], until=0, looks=[1.0, 61.0, 62.0, 63.0])[-1] is NodeHealth.LOST
