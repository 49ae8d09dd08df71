"""The life of one supervised engine, as data.

Requests are verbs (start, drain, stop, reset, retry). Other events are facts that are already true when they are sent:
`start_failed` is sent after the child is reaped. Busy or idle is a count, not a state.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class EngineState(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FATAL = "fatal"


class EngineEvent(StrEnum):
    # verbs
    START = "start"
    DRAIN = "drain"
    STOP = "stop"
    RESET = "reset"
    RETRY = "retry"
    # facts
    HEALTHY = "healthy"
    START_FAILED = "start_failed"
    START_REFUSED = "start_refused"
    UNRESPONSIVE = "unresponsive"
    EXITED = "exited"
    DRAINED = "drained"
    BACKOFF_ELAPSED = "backoff_elapsed"


TRANSITIONS: MappingProxyType[EngineState, MappingProxyType[EngineEvent, EngineState]] = MappingProxyType(
    {
        EngineState.STOPPED: MappingProxyType(
            {EngineEvent.START: EngineState.STARTING, EngineEvent.STOP: EngineState.STOPPED}
        ),
        EngineState.STARTING: MappingProxyType(
            {
                EngineEvent.HEALTHY: EngineState.READY,
                EngineEvent.START_FAILED: EngineState.BACKOFF,
                EngineEvent.START_REFUSED: EngineState.FATAL,
                EngineEvent.STOP: EngineState.STOPPING,
            }
        ),
        EngineState.READY: MappingProxyType(
            {
                EngineEvent.DRAIN: EngineState.DRAINING,
                EngineEvent.STOP: EngineState.STOPPING,
                EngineEvent.UNRESPONSIVE: EngineState.STOPPING,
                EngineEvent.EXITED: EngineState.BACKOFF,
            }
        ),
        EngineState.DRAINING: MappingProxyType(
            {
                EngineEvent.DRAINED: EngineState.STOPPING,
                EngineEvent.STOP: EngineState.STOPPING,
                EngineEvent.UNRESPONSIVE: EngineState.STOPPING,
                EngineEvent.EXITED: EngineState.STOPPED,
            }
        ),
        # a second stop sends the next signal at once
        EngineState.STOPPING: MappingProxyType(
            {EngineEvent.STOP: EngineState.STOPPING, EngineEvent.EXITED: EngineState.STOPPED}
        ),
        EngineState.BACKOFF: MappingProxyType(
            {
                EngineEvent.BACKOFF_ELAPSED: EngineState.STOPPED,
                EngineEvent.STOP: EngineState.STOPPED,
                # the cause of the failure is gone
                EngineEvent.RETRY: EngineState.STOPPED,
            }
        ),
        EngineState.FATAL: MappingProxyType(
            {EngineEvent.RESET: EngineState.STOPPED, EngineEvent.STOP: EngineState.STOPPED}
        ),
    }
)

# States in which the engine holds memory, or is about to: `max_loaded` counts these.
OCCUPYING = frozenset({EngineState.STARTING, EngineState.READY, EngineState.DRAINING, EngineState.STOPPING})


class IllegalTransitionError(RuntimeError):
    """A programming error: the event is not valid in the state."""


def next_state(state: EngineState, event: EngineEvent) -> EngineState:
    """Raises IllegalTransitionError for a pair that is not in the table."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransitionError(f"{event} in {state}") from None
