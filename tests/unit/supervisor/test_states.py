"""Every pair of state and event, legal or not."""

from itertools import product

import pytest

from app.supervisor.states import TRANSITIONS, EngineEvent, EngineState, IllegalTransitionError, next_state

LEGAL = """
stopped   start              starting
stopped   stop               stopped
starting  healthy            ready
starting  start_failed       backoff
starting  start_refused      fatal
starting  stop               stopping
ready     drain              draining
ready     stop               stopping
ready     unresponsive       stopping
ready     exited             backoff
draining  drained            stopping
draining  stop               stopping
draining  unresponsive       stopping
draining  exited             stopped
stopping  stop               stopping
stopping  exited             stopped
backoff   backoff_elapsed    stopped
backoff   stop               stopped
backoff   retry              stopped
fatal     reset              stopped
fatal     stop               stopped
"""
PAIRS = {
    (EngineState(a), EngineEvent(b)): EngineState(c)
    for a, b, c in (line.split() for line in LEGAL.strip().splitlines())
}


@pytest.mark.parametrize(("state", "event"), list(product(EngineState, EngineEvent)))
def test_every_pair_moves_as_the_table_says_or_raises(state: EngineState, event: EngineEvent) -> None:
    """A legal event moves to the documented state; any other raises and names both."""
    if (state, event) in PAIRS:
        assert next_state(state, event) is PAIRS[state, event]
    else:
        with pytest.raises(IllegalTransitionError, match=f"{event} in {state}"):
            next_state(state, event)


def test_every_state_has_a_way_out() -> None:
    """No state is a trap: each has at least one event that leaves it."""
    for state in EngineState:
        assert any(target is not state for target in TRANSITIONS[state].values())
