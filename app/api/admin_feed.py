"""What an administrator watches, as a snapshot and its changes.

Nothing is looked at while nobody watches. All who watch share one look, and the last changes are kept for those that
come back.
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

# Seconds between two looks, so that no more than four changes are told in a second
LOOK_EVERY_S = 0.25
# While nothing changes: a look at two hundred models takes two milliseconds
_IDLE_LOOK_EVERY_S = 0.5
_CHANGES_KEPT = 400
_DECISIONS_SHOWN = 50

# Section -> key -> row
Sections = dict[str, dict[str, dict[str, Any]]]


class AdminFeed:
    """`look` gives what there is now, `traffic` the requests that end. `clock` is in seconds."""

    def __init__(
        self, look: Callable[[], Sections], traffic: Traffic, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._traffic = traffic
        self._clock = clock
        # Another process's numbers are of other changes
        self._life = secrets.token_hex(4)
        self._number = 0
        self._looked = -math.inf
        self._gap = LOOK_EVERY_S
        self._seen: Sections = {}
        self._ended = traffic.ended
        self._changes: deque[tuple[int, bytes]] = deque(maxlen=_CHANGES_KEPT)

    def refresh(self) -> None:
        """Looks again where the last look is LOOK_EVERY_S old, or older where it has found nothing new."""
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
        """The number to go on behind, and the event to begin with: none for who was here before, else the snapshot."""
        self.refresh()
        life, _, number = last_id.partition("-")
        if life == self._life and number.isdecimal() and self._has_all_behind(int(number)):
            return int(number), b""
        return self._number, self._event(self._number, "snapshot", msgspec.json.encode(self._seen))

    def behind(self, number: int) -> tuple[int, bytes]:
        """The changes behind a number as events, and the number of the last; the snapshot where some are gone."""
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
    """`set` holds rows that are new or differ, `gone` the keys of those that are there no longer."""
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
    """The gateway's engines, running requests, pulls and decisions.

    `facts` are about the gateway itself, `beside` gives what is told of an engine beside its status.
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
    """Without what changes as time passes: who watches has a clock."""
    return {name: value for name, value in fields.items() if name not in ("seconds", "tok_s")}


def engine_row(engine: EngineStatus) -> dict[str, Any]:
    """As `/admin/engines` has it, in whole seconds, so that a row is told again once a second at most."""
    row = engine.fields() | {"speculation": engine.speculation.fields() if engine.speculation else None}
    if row["retry_after"] is not None:
        row["retry_after"] = math.ceil(row["retry_after"])
    if row["loading"] is not None:
        row["loading"] = row["loading"] | {"seconds": int(row["loading"]["seconds"])}
    return row
