"""The life of one supervised engine, as data.

Requests are verbs (start, drain, stop, reset); everything else is a fact that is already true when
it is fed in: `start_failed` fires after the child is reaped. Busy or idle is a count, not a state.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FATAL = "fatal"


class Event(StrEnum):
    # verbs
    START = "start"
    DRAIN = "drain"
    STOP = "stop"
    RESET = "reset"
    # facts
    HEALTHY = "healthy"
    START_FAILED = "start_failed"
    START_REFUSED = "start_refused"
    UNRESPONSIVE = "unresponsive"
    EXITED = "exited"
    DRAINED = "drained"
    DRAIN_TIMEOUT = "drain_timeout"
    BACKOFF_ELAPSED = "backoff_elapsed"
    RETRIES_EXHAUSTED = "retries_exhausted"


TRANSITIONS: MappingProxyType[State, MappingProxyType[Event, State]] = MappingProxyType(
    {
        State.STOPPED: MappingProxyType({Event.START: State.STARTING, Event.STOP: State.STOPPED}),
        State.STARTING: MappingProxyType(
            {
                Event.HEALTHY: State.READY,
                Event.START_FAILED: State.BACKOFF,
                Event.START_REFUSED: State.FATAL,
                Event.STOP: State.STOPPING,
            }
        ),
        State.READY: MappingProxyType(
            {
                Event.DRAIN: State.DRAINING,
                Event.STOP: State.STOPPING,
                Event.UNRESPONSIVE: State.STOPPING,
                Event.EXITED: State.BACKOFF,
            }
        ),
        State.DRAINING: MappingProxyType(
            {
                Event.DRAINED: State.STOPPING,
                Event.DRAIN_TIMEOUT: State.STOPPING,
                Event.STOP: State.STOPPING,
                Event.UNRESPONSIVE: State.STOPPING,
                Event.EXITED: State.STOPPED,
            }
        ),
        # a second stop escalates: the next signal is sent at once
        State.STOPPING: MappingProxyType({Event.STOP: State.STOPPING, Event.EXITED: State.STOPPED}),
        State.BACKOFF: MappingProxyType(
            {
                Event.BACKOFF_ELAPSED: State.STOPPED,
                Event.STOP: State.STOPPED,
                Event.RETRIES_EXHAUSTED: State.FATAL,
            }
        ),
        State.FATAL: MappingProxyType({Event.RESET: State.STOPPED, Event.STOP: State.STOPPED}),
    }
)

# States in which the engine holds memory, or is about to: what `max_loaded` counts.
OCCUPYING = frozenset({State.STARTING, State.READY, State.DRAINING, State.STOPPING})


class IllegalTransition(RuntimeError):
    """A programming error: the event has no meaning in the state."""


def next_state(state: State, event: Event) -> State:
    """Raises IllegalTransition for a pair that the table does not hold."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"{event} in {state}") from None
