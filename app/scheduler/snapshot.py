"""What the policy decides from, and what it decides. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from app.supervisor.states import EngineState

# How long a busy engine keeps its place, seconds; at most half of `max_wait`.
PATIENCE_S = 5.0
# An engine that others wait for stays up for so many times what its load has taken, at most half of `max_wait`.
RESIDENCY_LOADS = 4.0
MAX_WAIT_S = 30.0
# A BACKOFF for so long is waited for by who knows that the engine can start
SHORT_BACKOFF_S = 2.0
# A wait of so long is told with its reason
TOLD_AFTER_S = 1.0

# Aliases whose engines cannot all be up at once
Misfit = frozenset[str]


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine as the policy sees it. Moments are on the snapshot's clock.

    `last_used` is when its last lease ended, `retry_at` when a BACKOFF is over, `ready_at` when its load ended,
    `unload_at` when an idle engine's ttl is over. `may_come_up`: a start of it has succeeded,
    or the last was ended by somebody else.
    `wants_memory`: its start failed for want of memory that others of ours may hold. `room_made`: one of those has gone
    since.
    """

    alias: str
    state: EngineState
    in_flight: int = 0
    last_used: float = 0.0
    retry_at: float = 0.0
    may_come_up: bool = False
    wants_memory: bool = False
    room_made: bool = False
    # Residency
    pinned: bool = False
    exclusive: bool = False
    priority: int = 0
    unload_at: float = math.inf
    # What its last load took, in seconds
    load_seconds: float = 1.0
    ready_at: float = -math.inf
    # Since when there was a request with it at every moment
    busy_since: float = math.inf
    # Place in memory (`host`, `CUDA0`) -> bytes; empty where nobody knows
    needs: Mapping[str, int] = field(default_factory=dict)
    # Bytes of the host's part that may go beyond the budget while nothing else is on the host: files that are mapped
    mapped: int = 0


class Wait(NamedTuple):
    """Somebody waits for `alias` since `since`; a higher `priority` comes first."""

    alias: str
    since: float
    priority: int = 0


class EngineTable:
    """Engines by alias, kept from one decision to the next; `running` are those that are not STOPPED."""

    def __init__(self, views: Iterable[EngineView] = ()) -> None:
        self._views: dict[str, EngineView] = {}
        self.running: dict[str, EngineView] = {}
        # Places in memory -> how many STOPPED engines need just these
        self._stopped: Counter[frozenset[str]] = Counter()
        for view in views:
            self.put(view)

    @classmethod
    def of(cls, views: Iterable[EngineView]) -> EngineTable:
        """Itself, where it is a table already."""
        return views if isinstance(views, cls) else cls(views)

    def __iter__(self) -> Iterator[EngineView]:
        return iter(self._views.values())

    def __getitem__(self, alias: str) -> EngineView:
        return self._views[alias]

    def put(self, view: EngineView) -> None:
        """In place of what is known of its alias."""
        self.drop(view.alias)
        self._views[view.alias] = view
        if view.state is EngineState.STOPPED:
            self._stopped[frozenset(view.needs)] += 1
        else:
            self.running[view.alias] = view

    def drop(self, alias: str) -> None:
        """Harmless for one that is not there."""
        if (view := self._views.pop(alias, None)) is None:
            return
        if view.state is not EngineState.STOPPED:
            del self.running[alias]
            return
        places = frozenset(view.needs)
        self._stopped[places] -= 1
        if not self._stopped[places]:
            del self._stopped[places]

    def all_need(self, places: Set[str]) -> bool:
        """Whether no engine that is STOPPED could do without these places in memory."""
        return not any(places.isdisjoint(needed) for needed in self._stopped)


@dataclass(frozen=True, slots=True)
class SchedulerSnapshot:
    """`engines` are at least those that are up and those that somebody waits for.

    Whoever decides often hands over an EngineTable and a WaitingLine that he keeps: a decision then costs what it
    looks at.
    """

    now: float
    max_loaded: int
    engines: Iterable[EngineView]
    waiting: Iterable[Wait]
    misfits: frozenset[Misfit] = frozenset()
    max_wait: float = MAX_WAIT_S
    # Place in memory -> bytes for all engines together; a place that is not in it has room for all
    budgets: Mapping[str, int] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        return min(PATIENCE_S, self.max_wait / 2)

    def residency(self, engine: EngineView) -> float:
        """Seconds that an engine stays up while others wait for its place."""
        return min(RESIDENCY_LOADS * engine.load_seconds, self.max_wait / 2)


@dataclass(frozen=True, slots=True)
class Grant:
    alias: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """With the engine's diagnosis."""

    alias: str


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Nothing that is in the way of `alias` may be unloaded."""

    alias: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class NoMemory:
    """`alias` would not fit if it were alone."""

    alias: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Start:
    """`inputs` are the figures that it was decided by, in words."""

    alias: str
    why: str = field(default="", compare=False)
    inputs: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Retry:
    """The start that failed for want of memory."""

    alias: str


@dataclass(frozen=True, slots=True)
class Drain:
    """`alias` makes room for `room_for`, or has come to the end of its ttl where that is empty."""

    alias: str
    room_for: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Blocked:
    """`alias` goes on waiting; `reasons` tell who is in its way and how, to know one reason from the next."""

    alias: str
    reasons: frozenset[tuple[str, str]]
    why: str = field(default="", compare=False)


# What `decide` gives
Action = Grant | Refuse | NoRoom | NoMemory | Start | Retry | Drain
