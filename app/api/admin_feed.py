"""The admin event stream's data: a snapshot of the gateway, and its changes.

The feed collects nothing without watchers. All watchers share one look. The last changes are kept for watchers that
reconnect.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from app.api.pull_schemas import view
from app.pulls.registry import Pulls
from app.relay.traffic import Traffic
from app.scheduler.engine_status import EngineStatus
from app.scheduler.loop import Scheduler

# Seconds between two looks, for at most four changes a second
LOOK_EVERY_S = 0.25
# Seconds between looks without changes: a look at two hundred models takes two milliseconds
_IDLE_LOOK_EVERY_S = 0.5
_CHANGES_KEPT = 400
_DECISIONS_SHOWN = 50

# Section -> key -> row
Sections = dict[str, dict[str, dict[str, Any]]]


class AdminFeed:
    """Snapshots and changes for watchers.

    `look` returns the current state, `traffic` the finished requests. `clock` is in seconds.
    """

    def __init__(
        self, look: Callable[[], Sections], traffic: Traffic, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._traffic = traffic
        self._clock = clock
        # Another process counts other changes
        self._life = secrets.token_hex(4)
        self._number = 0
        self._looked = -math.inf
        self._gap = LOOK_EVERY_S
        self._seen: Sections = {}
        self._ended = traffic.ended
        self._changes: deque[tuple[int, bytes]] = deque(maxlen=_CHANGES_KEPT)

    def refresh(self) -> None:
        """Looks again if the last look is LOOK_EVERY_S old, or older if it found no change."""
        if self._clock() - self._looked < self._gap:
            return
        self._looked = self._clock()
        now = self._look()
        change = _difference(self._seen, now)
        if ended := self._traffic.ended - self._ended:
            change["finished"] = [request.fields() for request in reversed(self._traffic.last(ended))]
        self._seen, self._ended = now, self._traffic.ended
        self._gap = LOOK_EVERY_S if change else _IDLE_LOOK_EVERY_S
        if change:
            self._number += 1
            self._changes.append((self._number, msgspec.json.encode(change)))

    def begin(self, last_id: str) -> tuple[int, bytes]:
        """Returns a watcher's start number, and its first event: the snapshot, or none for a returning watcher."""
        self.refresh()
        life, _, number = last_id.partition("-")
        if life == self._life and number.isdecimal() and self._has_all_behind(int(number)):
            return int(number), b""
        return self._number, self._event(self._number, "snapshot", msgspec.json.encode(self._seen))

    def behind(self, number: int) -> tuple[int, bytes]:
        """Returns the changes after a number as events, and the last number. Returns the snapshot if some are lost."""
        self.refresh()
        if not self._has_all_behind(number):
            return self.begin("")
        events = [self._event(at, "change", change) for at, change in self._changes if at > number]
        return self._number, b"".join(events)

    def _has_all_behind(self, number: int) -> bool:
        oldest = self._changes[0][0] if self._changes else self._number + 1
        return oldest - 1 <= number <= self._number

    def _event(self, number: int, kind: str, data: bytes) -> bytes:
        return f"id: {self._life}-{number}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"


def _difference(before: Sections, now: Sections) -> dict[str, Any]:
    """Returns `set` with new or changed rows, and `gone` with the keys of removed rows."""
    changed: Sections = {}
    gone: dict[str, list[str]] = {}
    for section, rows in now.items():
        old = before.get(section, {})
        if differing := {key: row for key, row in rows.items() if old.get(key) != row}:
            changed[section] = differing
        if missing := [key for key in old if key not in rows]:
            gone[section] = missing
    return ({"set": changed} if changed else {}) | ({"gone": gone} if gone else {})


def look_at(
    scheduler: Scheduler,
    pulls: Pulls,
    traffic: Traffic,
    facts: Callable[[], dict[str, Any]],
    beside: Callable[[EngineStatus], dict[str, Any]] = lambda _: {},
) -> Sections:
    """Returns the gateway's engines, running requests, pulls and decisions.

    `facts` are about the gateway itself. `beside` returns an engine's facts besides its status.
    """
    decisions = scheduler.decisions[:_DECISIONS_SHOWN]
    return {
        "gateway": {"self": facts()},
        "engines": {engine.alias: engine_row(engine) | beside(engine) for engine in scheduler.statuses()},
        "requests": {str(request.number): _lasting(request.fields()) for request in traffic.running()},
        "pulls": {pull.id: view(pull).model_dump(mode="json") for pull in pulls.all()},
        "decisions": {f"{each.at:.6f} {each.words}": each.fields() for each in decisions},
    }


def _lasting(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns a row without values that change with time, since watchers have a clock."""
    return {name: value for name, value in fields.items() if name not in ("seconds", "tok_s")}


def engine_row(engine: EngineStatus) -> dict[str, Any]:
    """Returns the row of `/admin/engines` in whole seconds, so that it changes once a second at most."""
    row = engine.fields() | {"speculation": engine.speculation.fields() if engine.speculation else None}
    if row["retry_after"] is not None:
        row["retry_after"] = math.ceil(row["retry_after"])
    if row["loading"] is not None:
        row["loading"] = row["loading"] | {"seconds": int(row["loading"]["seconds"])}
    return row
