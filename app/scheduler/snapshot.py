"""The policy's input and its output. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from app.scheduler.demand import UNUSED, Demand
from app.supervisor.states import OCCUPYING, EngineState

# Seconds in which a busy engine keeps its place; at most half of `max_wait`.
PATIENCE_S = 5.0
# Minimum residency while other requests wait, as a multiple of the load time; at most half of `max_wait`.
RESIDENCY_LOADS = 4.0
# Seconds after an answer in which a client that asks again at once finds its engine still there, though others wait
PAUSE_S = 0.1
MAX_WAIT_S = 30.0
# Seconds of a BACKOFF that a request waits for, if the engine has started before
SHORT_BACKOFF_S = 2.0
# Seconds of a wait after which its reason is reported
REASON_AFTER_S = 1.0

LEAVING = frozenset((EngineState.DRAINING, EngineState.STOPPING))

# Aliases whose engines cannot all be up at once
Misfit = frozenset[str]


class HostOffer(NamedTuple):
    """What a machine's own planner says of an engine: what it would need there, or why it cannot start there.

    `needs` is place in memory -> bytes, `mapped` the part of it that are mapped files. `refusal` names what is wrong,
    such as missing files, or a build that does not know the architecture.
    """

    host: str
    needs: Mapping[str, int] = MappingProxyType({})
    mapped: int = 0
    refusal: str = ""


class HostView(NamedTuple):
    """A machine that engines run on. `live`: it takes engines now. One that is not is lost or live again in seconds."""

    name: str
    live: bool = True


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine as the policy sees it. Moments are on the snapshot's clock.

    `last_used` is the end of its last lease, `retry_at` the end of a BACKOFF, `ready_at` the end of its load, and
    `unload_at` the end of an idle engine's ttl. `may_come_up`: a start of it has succeeded, or another program ended
    the last one. `wants_memory`: its start ran out of memory that other engines of ours may hold. `room_made`: one of
    those has left since.
    """

    alias: str
    state: EngineState
    in_flight: int = 0
    last_used: float = 0.0
    retry_at: float = 0.0
    may_come_up: bool = False
    wants_memory: bool = False
    room_made: bool = False
    # The machine that it runs on, or for which room is being made; empty for this one if there are no others
    node: str = ""
    # Where it may start, if there are several machines, and where it ran, the last one first
    offers: tuple[HostOffer, ...] = ()
    ran_on: tuple[str, ...] = ()
    # Residency
    pinned: bool = False
    exclusive: bool = False
    priority: int = 0
    unload_at: float = math.inf
    # The duration of its last load, in seconds
    load_seconds: float = 1.0
    ready_at: float = -math.inf
    # The beginning of the time in which it has always had a request
    busy_since: float = math.inf
    # Its past requests
    demand: Demand = UNUSED
    # Place in memory (`host`, `CUDA0`) -> bytes; empty if unknown
    needs: Mapping[str, int] = field(default_factory=dict)
    # Bytes of mapped files on the host, which may exceed the budget while no other engine holds host memory
    mapped: int = 0


class Wait(NamedTuple):
    """A request waits for `alias` since `since`; a higher `priority` comes first."""

    alias: str
    since: float
    priority: int = 0


class EngineTable:
    """Engines by alias, kept between decisions, with their sums, so that a decision need not read all of them.

    `running` are those that are not STOPPED, `up` those that hold memory: `held` is place -> bytes of them together,
    `by_node` their aliases by machine.
    """

    def __init__(self, views: Iterable[EngineView] = ()) -> None:
        self._views: dict[str, EngineView] = {}
        self.running: dict[str, EngineView] = {}
        self.up: dict[str, EngineView] = {}
        self.held: dict[str, int] = {}
        self.by_node: dict[str, set[str]] = {}
        self.loading: set[str] = set()
        self.leaving: set[str] = set()
        # Sets of places in memory -> the number of STOPPED engines that need exactly these
        self._stopped: Counter[frozenset[str]] = Counter()
        for view in views:
            self.put(view)

    @classmethod
    def of(cls, views: Iterable[EngineView]) -> EngineTable:
        """Returns `views` itself if it is a table already."""
        return views if isinstance(views, cls) else cls(views)

    def __iter__(self) -> Iterator[EngineView]:
        return iter(self._views.values())

    def __getitem__(self, alias: str) -> EngineView:
        return self._views[alias]

    def put(self, view: EngineView) -> None:
        """Replaces the view of the same alias."""
        self.drop(view.alias)
        self._views[view.alias] = view
        if view.state is EngineState.STOPPED:
            self._stopped[frozenset(view.needs)] += 1
            return
        self.running[view.alias] = view
        if view.state in OCCUPYING:
            self._count(view)

    def _count(self, view: EngineView) -> None:
        alias = view.alias
        self.up[alias] = view
        self.by_node.setdefault(view.node, set()).add(alias)
        for name, size in view.needs.items():
            self.held[name] = self.held.get(name, 0) + size
        if view.state is EngineState.STARTING:
            self.loading.add(alias)
        elif view.state in LEAVING:
            self.leaving.add(alias)

    def _uncount(self, view: EngineView) -> None:
        alias = view.alias
        del self.up[alias]
        self.by_node[view.node].discard(alias)
        for name, size in view.needs.items():
            self.held[name] -= size
        self.loading.discard(alias)
        self.leaving.discard(alias)

    def drop(self, alias: str) -> None:
        """Removes the view of `alias`, if it has one."""
        if (view := self._views.pop(alias, None)) is None:
            return
        if view.state is not EngineState.STOPPED:
            del self.running[alias]
            if alias in self.up:
                self._uncount(view)
            return
        places = frozenset(view.needs)
        self._stopped[places] -= 1
        if not self._stopped[places]:
            del self._stopped[places]

    def all_need(self, places: Set[str]) -> bool:
        """Whether every STOPPED engine needs one of these places in memory."""
        return not any(places.isdisjoint(needed) for needed in self._stopped)


@dataclass(frozen=True, slots=True)
class SchedulerSnapshot:
    """The state that one decision is made from. `engines` contains at least all running and all awaited ones.

    A caller that decides often passes an EngineTable and a WaitingLine that it keeps. The cost of a decision then
    depends only on the entries that it reads.
    """

    now: float
    max_loaded: int
    engines: Iterable[EngineView]
    waiting: Iterable[Wait]
    misfits: frozenset[Misfit] = frozenset()
    max_wait: float = MAX_WAIT_S
    # Place in memory -> bytes for all engines together; a place without a budget has no limit
    budgets: Mapping[str, int] = field(default_factory=dict)
    # The machines of a cluster by name; empty without one. Places in memory then have the machine's name, too
    hosts: Mapping[str, HostView] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        return min(PATIENCE_S, self.max_wait / 2)

    def residency(self, engine: EngineView) -> float:
        """Seconds that an engine stays up while other requests wait for its place."""
        return min(RESIDENCY_LOADS * engine.load_seconds, self.max_wait / 2)

    def stays_until(self, engine: EngineView) -> float:
        """The moment until which an engine in use keeps its place while other requests wait.

        An idle one that is not in steady use has served its purpose.
        """
        residency = self.residency(engine)
        if engine.in_flight or engine.demand.is_steady(residency):
            return engine.ready_at + residency
        return min(engine.ready_at + residency, engine.last_used + PAUSE_S)


@dataclass(frozen=True, slots=True)
class Grant:
    alias: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuses the waiting requests with the engine's diagnosis."""

    alias: str


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Refuses them: no engine in the way of `alias` may be unloaded."""

    alias: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class NoMemory:
    """Refuses them: `alias` does not fit even alone."""

    alias: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class NoHost:
    """Refuses them: no machine that is there can start `alias`."""

    alias: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Start:
    """Starts the engine, on `host` if there are several machines. `inputs` are the figures behind the decision."""

    alias: str
    host: str = ""
    why: str = field(default="", compare=False)
    inputs: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Retry:
    """Repeats a start that ran out of memory."""

    alias: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Drains `alias` to make room for `room_for`, or, if that is empty, at the end of its ttl."""

    alias: str
    room_for: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Blocked:
    """`alias` still waits. `reasons` are pairs of an engine and its obstacle; equal pairs are the same reason."""

    alias: str
    reasons: frozenset[tuple[str, str]]
    why: str = field(default="", compare=False)


# The results of `decide`
Action = Grant | Refuse | NoRoom | NoMemory | NoHost | Start | Retry | Drain
