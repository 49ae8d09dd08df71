"""What is learnt from starts that fail for want of memory."""

from collections.abc import Mapping

import pytest

from app.scheduler.misfits import HOPELESS_S, LONGEST_HOPELESS_S, Misfits

GIB = 2**30


class Machine:
    """One model that has not enough memory, by a clock of its own."""

    def __init__(self) -> None:
        self.misfits, self.now = Misfits(), 0.0

    def fails(self, *beside: str, room: Mapping[str, int] = {}, code: str = "device_memory") -> bool:
        """Whether others are to make room then."""
        self.misfits.failed("a", code, set(beside), room, self.now)
        return self.misfits.wants_memory("a")


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_others_make_room_unless_it_has_failed_alone(machine: Machine) -> None:
    assert machine.fails("b")
    assert not machine.fails("b", code="port_taken")
    assert not machine.fails()
    assert not machine.fails("b")


def test_a_neighbour_that_goes_by_itself_makes_room_too(machine: Machine) -> None:
    """As one that an administrator has unloaded just before the start."""
    assert machine.fails("b")
    machine.misfits.gone("c")
    assert not machine.misfits.room_made("a")
    machine.misfits.gone("b")
    assert machine.misfits.room_made("a")


def test_the_time_in_which_nobody_moves_doubles_with_each_time_in_vain(machine: Machine) -> None:
    """Tries within it do not make it longer than it is, but for being counted from the last of them."""
    lasts = HOPELESS_S
    for _ in range(6):
        assert not machine.fails()
        machine.now += lasts / 2
        assert not machine.fails()
        machine.now += lasts - 1
        assert not machine.fails("b")
        machine.now += 2
        assert machine.fails("b")
        lasts = min(2 * lasts, LONGEST_HOPELESS_S)


def test_memory_that_others_have_given_back_ends_it_at_once(machine: Machine) -> None:
    """Enough of it: what comes and goes by itself does not count."""
    assert not machine.fails(room={"host": 20 * GIB, "CUDA0": 4 * GIB})
    assert not machine.fails("b", room={"host": 21 * GIB, "CUDA0": 4 * GIB})
    assert machine.fails("b", room={"host": 20 * GIB, "CUDA0": 5 * GIB})
    assert not machine.fails("b", room={"host": 20 * GIB, "CUDA0": 3 * GIB})


def test_a_start_that_succeeds_begins_anew(machine: Machine) -> None:
    for _ in range(3):
        assert not machine.fails()
        machine.now += LONGEST_HOPELESS_S
    machine.misfits.came_up("a", set())
    assert not machine.fails()
    machine.now += HOPELESS_S
    assert machine.fails("b")
