"""Tells from the times of a node's answers whether it lives. Pure.

A late answer is an answer: on a busy machine each may take more than a second. Time in which this process itself did
not run does not count.
"""

from __future__ import annotations

from enum import StrEnum

BEAT_S = 1.0
# Without any answer. Open streams to a node that is cut off are to end within five seconds
SUSPECT_AFTER_S, LOST_AFTER_S = 2.0, 3.5


class NodeHealth(StrEnum):
    WELL = "well"
    # No engine is started there
    SUSPECT = "suspect"
    LOST = "lost"


class Heartbeat:
    """Times are in seconds on a monotonic clock. Call `look` every BEAT_S."""

    def __init__(self, now: float) -> None:
        self._answered = now
        self._looked = now

    def answer(self, now: float) -> None:
        self._answered = now

    def look(self, now: float) -> NodeHealth:
        """The health of the node, by the time since its last answer."""
        paused = max(0.0, now - self._looked - 2 * BEAT_S)
        self._answered = min(now, self._answered + paused)
        self._looked = now
        silence = now - self._answered
        if silence > LOST_AFTER_S:
            return NodeHealth.LOST
        return NodeHealth.SUSPECT if silence > SUSPECT_AFTER_S else NodeHealth.WELL
