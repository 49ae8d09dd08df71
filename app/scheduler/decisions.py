"""Why engines came and went: the last decisions in words, the same as in the log."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from app import logs

log = logs.get_logger("scheduler")

KEPT = 200
# Of an alias for which nothing could be done yet
WAITS = "waits"


@dataclass(frozen=True, slots=True)
class PlacementDecision:
    """`verb` is what was decided for the engine of `alias`: loaded, evicted, unloaded, refused, waits ..."""

    at: float
    alias: str
    verb: str
    why: str

    @property
    def words(self) -> str:
        return f"{self.alias} waits: {self.why}" if self.verb == WAITS else f"{self.verb} {self.alias}: {self.why}"

    def fields(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "at": round(self.at, 3),
            "alias": self.alias,
            "decision": self.verb,
            "why": self.why,
            "words": self.words,
        }


class Decisions:
    """The last `KEPT`, the newest first."""

    def __init__(self) -> None:
        self._kept: deque[PlacementDecision] = deque(maxlen=KEPT)

    def add(self, alias: str, verb: str, why: str) -> None:
        decision = PlacementDecision(time.time(), alias, verb, why)
        self._kept.appendleft(decision)
        log.info(decision.words, alias=alias)

    def all(self) -> list[PlacementDecision]:
        return list(self._kept)
