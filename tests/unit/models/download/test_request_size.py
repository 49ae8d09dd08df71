"""How long requests are: as long as the way is, and no longer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.download.request_size import LONGEST, SHORTEST, RequestSizer

seconds = st.floats(0, 1e4)


def settled(wait: float, a_block: float, requests: int = 40) -> int:
    """The length in the end, where each request waits so many seconds, and then takes so many for each block."""
    pace = RequestSizer()
    for _ in range(requests):
        pace.note(pace.length, wait, wait + pace.length * a_block)
    return pace.length


@pytest.mark.parametrize(
    ("wait", "a_block", "length"),
    [(0.0, 0.01, SHORTEST), (0.001, 0.01, SHORTEST), (0.03, 0.1, 3), (0.05, 0.05, 9), (0.2, 0.04, LONGEST)],
)
def test_waiting_is_a_tenth_of_a_request(wait: float, a_block: float, length: int) -> None:
    """Next door the shortest do, over an ocean hardly the longest."""
    assert settled(wait, a_block) == length


def test_a_single_long_wait_is_the_machines_own() -> None:
    pace = RequestSizer()
    for wait in (0.001, 3.0, 3.0, 3.0):
        pace.note(pace.length, wait, wait + 0.04)
    assert pace.length == SHORTEST


def test_it_grows_by_steps_and_shrinks_again() -> None:
    """One request that says little does not decide on 64 MiB."""
    pace, lengths = RequestSizer(), []
    for _ in range(4):
        pace.note(pace.length, 5.0, 5.1)
        lengths.append(pace.length)
    assert lengths == [2 * SHORTEST, 4 * SHORTEST, LONGEST, LONGEST]
    pace.note(pace.length, 0.001, 1.0)
    assert pace.length == SHORTEST


@given(st.lists(st.tuples(st.integers(1, LONGEST), seconds, seconds)))
def test_whatever_a_clock_says_the_length_is_one(requests: list[tuple[int, float, float]]) -> None:
    pace = RequestSizer()
    for request in requests:
        pace.note(*request)
        assert SHORTEST <= pace.length <= LONGEST
