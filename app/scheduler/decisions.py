"""The scheduler's last decisions, each with its reason. The log has the same texts."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from app import logs

log = logs.get_logger("scheduler")

KEPT = 200
# The verb of an alias whose request has to wait
WAITS = "waits"


@dataclass(frozen=True, slots=True)
class PlacementDecision:
    """One decision about the engine of `alias`. `verb` is loaded, evicted, unloaded, refused, waits, and so on.

    `at` is in seconds since the epoch. The verb of a request that waits is `WAITS`.
    """

    at: float
    alias: str
    verb: str
    why: str

    @property
    def words(self) -> str:
        return f"{self.alias} waits: {self.why}" if self.verb == WAITS else f"{self.verb} {self.alias}: {self.why}"

    def fields(self) -> dict[str, Any]:
        """The decision as JSON for the admin API."""
        return {
            "at": round(self.at, 3),
            "alias": self.alias,
            "decision": self.verb,
            "why": self.why,
            "words": self.words,
        }


class Decisions:
    """The last `KEPT` decisions, the newest first."""

    def __init__(self) -> None:
        self._kept: deque[PlacementDecision] = deque(maxlen=KEPT)

    def add(self, alias: str, verb: str, why: str) -> None:
        decision = PlacementDecision(time.time(), alias, verb, why)
        self._kept.appendleft(decision)
        log.info(decision.words, alias=alias)

    def all(self) -> list[PlacementDecision]:
        return list(self._kept)
