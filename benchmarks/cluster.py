"""A day of traffic over the nodes of a cluster, event by event: our policy beside simpler ways to choose a node.

Every rule gets the same nodes, models and requests. A node has one device, and a page cache that makes a repeated load
faster. Nothing here sleeps: a day is a list of events.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from app.scheduler.demand import UNUSED, Demand
from app.scheduler.line import WaitingLine
from app.scheduler.policy import decide, next_look
from app.scheduler.room import UNCAPPED
from app.scheduler.snapshot import (
    Action,
    Drain,
    EngineTable,
    EngineView,
    Grant,
    HostOffer,
    HostView,
    SchedulerSnapshot,
    Start,
    Wait,
)
from app.supervisor.states import EngineState
from benchmarks.placement_traffic import ANSWER_S, GIB, S, moments
from benchmarks.timeline import Timeline

SEED, STOP_S = 17, 0.5
# Bytes per second from a disk and from the page cache, and what a load takes besides
FROM_DISK, FROM_CACHE, LOAD_S = 1.5 * GIB, 8.0 * GIB, 1.5
# Devices of the nodes; the page cache of each has twice as much
DEVICES = (24 * GIB, 48 * GIB, 80 * GIB)
# The share of the nodes that have the files of a model, and of builds that know a new architecture
HAVE_FILES, KNOW_NEW = (0.04, 0.2), 0.7
_READY, _STOPPED = EngineState.READY, EngineState.STOPPED
_SAMPLE_S = 600.0


@dataclass(frozen=True, slots=True)
class ClusterSize:
    """How much is simulated; `requests` a day."""

    nodes: int = 200
    aliases: int = 2_000
    requests: int = 80_000
    days: float = 1.0


@dataclass(slots=True)
class SimulatedNode:
    """A node: its device, what is in its page cache, and the work that it has done."""

    name: str
    size: int
    held: int = 0
    cached: OrderedDict[str, int] = field(default_factory=OrderedDict)
    answering: float = 0.0

    def loads(self, alias: str, size: int) -> float:
        """The seconds of a load. Its files are in the page cache then."""
        rate = FROM_CACHE if self.cached.pop(alias, 0) else FROM_DISK
        self.cached[alias] = size
        while sum(self.cached.values()) > 2 * self.size:
            self.cached.popitem(last=False)
        return LOAD_S + size / rate


@dataclass(slots=True)
class SimulatedEngine:
    """One alias; `waiting` are the moments at which its requests came, with the seconds of their answers."""

    alias: str
    size: int
    offers: tuple[HostOffer, ...]
    state: EngineState = _STOPPED
    node: str = ""
    ran_on: tuple[str, ...] = ()
    in_flight: int = 0
    last_used: float = -math.inf
    ready_at: float = -math.inf
    load_seconds: float = 1.0
    demand: Demand = UNUSED
    waiting: list[tuple[float, float]] = field(default_factory=list)

    def view(self) -> EngineView:
        return EngineView(
            self.alias,
            self.state,
            self.in_flight,
            last_used=self.last_used,
            ready_at=self.ready_at,
            load_seconds=self.load_seconds,
            demand=self.demand,
            node=self.node,
            offers=self.offers,
            ran_on=self.ran_on,
            needs={f"node {self.node}": 1, f"{self.node}/CUDA0": self.size} if self.state is not _STOPPED else {},
        )


@dataclass(frozen=True, slots=True)
class ClusterDay:
    """What became of a day. Waits and decisions are in seconds, `busiest` is the work of the busiest node by the mean.

    `spread` is the standard deviation of the nodes' used memory, as a share of each.
    """

    rule: str
    cold_starts: float
    from_cache: float
    p50: float
    p99: float
    busiest: float
    spread: float
    decisions: tuple[float, ...]

    def decision(self, share: float) -> float:
        """The duration that this share of all decisions does not exceed, in CPU time."""
        return self.decisions[int((len(self.decisions) - 1) * share)]


class SimulatedCluster:
    """Runs `rule` over the traffic. The rule calls `start` and `drain`."""

    def __init__(self, size: ClusterSize, seed: int, rule: Callable[[SimulatedCluster], float]) -> None:
        chance = random.Random(seed)
        self._time = Timeline()
        self.nodes = {f"n{at}": SimulatedNode(f"n{at}", chance.choice(DEVICES)) for at in range(size.nodes)}
        self.engines = {engine.alias: engine for engine in _engines(size, self.nodes, chance)}
        self.on: dict[str, dict[str, SimulatedEngine]] = {name: {} for name in self.nodes}
        self.wanted: dict[str, SimulatedEngine] = {}
        # Those whose view has changed
        self.changed: dict[str, SimulatedEngine] = {}
        self.took: list[float] = []
        self.chance = random.Random(seed + 1)
        self._rule = rule
        self._traffic = _traffic(size, list(self.engines), chance)
        self._loads = self._from_cache = 0
        self._waits: list[float] = []
        self._spreads: list[float] = []

    @property
    def now(self) -> float:
        return self._time.now

    def run(self, name: str) -> ClusterDay:
        requests = 0
        for at, alias, answer in self._traffic:
            requests += 1
            self._time.at(at, lambda alias=alias, answer=answer: self._arrives(alias, answer))  # type: ignore[misc]
        sampled = 0.0
        for now in self._time.run():
            if self.wanted:
                self._time.look_at(self._rule(self))
            if now >= sampled:
                sampled = now + _SAMPLE_S
                self._spreads.append(statistics.pstdev(node.held / node.size for node in self.nodes.values()))
        assert len(self._waits) == requests, "a request waits for ever"
        cuts = statistics.quantiles(self._waits, n=100)
        work = [node.answering / node.size for node in self.nodes.values()]
        return ClusterDay(
            name,
            self._loads / requests,
            self._from_cache / max(self._loads, 1),
            cuts[49],
            cuts[98],
            max(work) / statistics.fmean(work),
            statistics.fmean(self._spreads),
            tuple(sorted(self.took)),
        )

    def idle_on(self, node: str) -> list[SimulatedEngine]:
        return [engine for engine in self.on[node].values() if engine.state is _READY and not engine.in_flight]

    def start(self, engine: SimulatedEngine, node: str) -> None:
        there = self.nodes[node]
        assert engine.state is _STOPPED and any(offer.host == node and not offer.refusal for offer in engine.offers)
        self._loads += 1
        self._from_cache += engine.alias in there.cached
        there.held += engine.size
        assert there.held <= there.size, "over budget"
        self.on[node][engine.alias] = engine
        engine.state, engine.node = EngineState.STARTING, node
        engine.ran_on = (node, *(name for name in engine.ran_on if name != node))[:4]
        seconds = there.loads(engine.alias, engine.size)
        self._time.at(self.now + seconds, lambda: self._loaded(engine, seconds))
        self.changed[engine.alias] = engine

    def drain(self, engine: SimulatedEngine) -> None:
        engine.state = EngineState.DRAINING
        self._drained(engine)

    def grant(self, engine: SimulatedEngine) -> None:
        for at, answer in engine.waiting:
            self._waits.append(self.now - at)
            engine.demand = engine.demand.asked(self.now)
            engine.in_flight += 1
            self.nodes[engine.node].answering += answer
            self._time.at(self.now + answer, lambda: self._answered(engine))
        engine.waiting.clear()
        self.wanted.pop(engine.alias, None)
        self.changed[engine.alias] = engine

    def _arrives(self, alias: str, answer: float) -> None:
        engine = self.engines[alias]
        engine.waiting.append((self.now, answer))
        self.wanted[alias] = self.changed[alias] = engine
        if engine.state is _READY:
            self.grant(engine)

    def _loaded(self, engine: SimulatedEngine, seconds: float) -> None:
        engine.state, engine.ready_at, engine.load_seconds = _READY, self.now, seconds
        self.changed[engine.alias] = engine
        if engine.waiting:
            self.grant(engine)

    def _answered(self, engine: SimulatedEngine) -> None:
        engine.in_flight -= 1
        engine.last_used = self.now
        self.changed[engine.alias] = engine
        if engine.state is EngineState.DRAINING:
            self._drained(engine)

    def _drained(self, engine: SimulatedEngine) -> None:
        self.changed[engine.alias] = engine
        if engine.in_flight == 0:
            engine.state = EngineState.STOPPING
            self._time.at(self.now + STOP_S, lambda: self._stopped(engine))

    def _stopped(self, engine: SimulatedEngine) -> None:
        self.nodes[engine.node].held -= engine.size
        del self.on[engine.node][engine.alias]
        engine.state, engine.node = _STOPPED, ""
        self.changed[engine.alias] = engine


def _engines(size: ClusterSize, nodes: dict[str, SimulatedNode], chance: random.Random) -> Iterator[SimulatedEngine]:
    """From 1 to 40 GiB, most of them small; a tenth has a new architecture. Each has some nodes that can run it."""
    knows_new = {name: chance.random() < KNOW_NEW for name in nodes}
    for at in range(size.aliases):
        bytes_ = int(min(max(chance.lognormvariate(math.log(7), 0.8), 1.0), 40.0) * GIB)
        fit = [name for name, node in nodes.items() if node.size >= bytes_]
        have = set(chance.sample(fit, max(2, int(len(fit) * chance.uniform(*HAVE_FILES)))))
        new, offers = chance.random() < 0.1, []
        for name in sorted(have):
            refusal = "its build does not know the architecture" if new and not knows_new[name] else ""
            offers.append(HostOffer(name, {f"node {name}": 1, f"{name}/CUDA0": bytes_}, refusal=refusal))
        if all(offer.refusal for offer in offers):
            offers[0] = offers[0]._replace(refusal="")
        yield SimulatedEngine(f"m{at}", bytes_, tuple(offers))


def _traffic(size: ClusterSize, aliases: list[str], chance: random.Random) -> list[tuple[float, str, float]]:
    """By Zipf's law, more of it by day."""
    seconds, count = 86_400.0 * size.days, int(size.requests * size.days)
    weights = [1 / rank**S for rank in range(1, len(aliases) + 1)]
    chosen = chance.choices(aliases, weights, k=count)
    return [
        (at, alias, chance.expovariate(1 / ANSWER_S))
        for at, alias in zip(moments(chance, count, seconds), chosen, strict=True)
    ]


# -- rules -------------------------------------------------------------------------------------------------------------


class Ours:
    """`policy.decide`, with the tables that the scheduler keeps."""

    def __init__(self) -> None:
        self._views = EngineTable()
        self._line = WaitingLine()

    def __call__(self, cluster: SimulatedCluster) -> float:
        for alias, engine in cluster.changed.items():
            if engine.waiting:
                self._line.put(Wait(alias, engine.waiting[0][0]))
            else:
                self._line.drop(alias)
            if engine.waiting or engine.state is not _STOPPED:
                self._views.put(engine.view())
            else:
                self._views.drop(alias)
        cluster.changed.clear()
        snapshot = SchedulerSnapshot(
            cluster.now,
            UNCAPPED,
            self._views,
            self._line,
            budgets={f"{name}/CUDA0": node.size for name, node in cluster.nodes.items()},
            hosts={name: HostView(name) for name in cluster.nodes},
        )
        began = time.thread_time()
        actions, again = decide(snapshot), next_look(snapshot)
        cluster.took.append(time.thread_time() - began)
        for action in actions:
            _act(cluster, action)
        return again


def _act(cluster: SimulatedCluster, action: Action) -> None:
    engine = cluster.engines[action.alias]
    match action:
        case Grant():
            cluster.grant(engine)
        case Start(_, host):
            cluster.start(engine, host)
        case Drain(_, room_for):
            waiting = cluster.engines[room_for]
            waiting.node = engine.node
            cluster.changed[room_for] = waiting
            cluster.drain(engine)
        case _:
            raise AssertionError(action)


def simple(best: Callable[[SimulatedCluster, list[str]], str]) -> Callable[[SimulatedCluster], float]:
    """Requests in order: the `best` node with room; without one, the `best` node with an idle engine, of which the
    least recently used leaves. While an engine leaves a node, requests wait for that node's room.
    """

    def rule(cluster: SimulatedCluster) -> float:
        freed: set[str] = {
            name for name, there in cluster.on.items() if any(e.state is EngineState.STOPPING for e in there.values())
        }
        for engine in sorted(cluster.wanted.values(), key=lambda engine: engine.waiting[0][0]):
            if engine.state is not _STOPPED:
                continue
            able = [offer.host for offer in engine.offers if not offer.refusal]
            loading = {name for name in able if any(e.state is EngineState.STARTING for e in cluster.on[name].values())}
            nodes = [name for name in able if name not in loading and name not in freed]
            fits = [name for name in nodes if cluster.nodes[name].held + engine.size <= cluster.nodes[name].size]
            if fits:
                cluster.start(engine, best(cluster, fits))
                continue
            idle = {
                name: [e for e in cluster.on[name].values() if e.state is _READY and not e.in_flight] for name in nodes
            }
            if engine.waiting and (some := [name for name in nodes if idle[name]]) and not freed & set(able):
                node = best(cluster, some)
                need = cluster.nodes[node].held + engine.size - cluster.nodes[node].size
                for other in sorted(idle[node], key=lambda other: other.last_used):
                    if need <= 0:
                        break
                    need -= other.size
                    cluster.drain(other)
                freed.add(node)
        cluster.changed.clear()
        return math.inf

    return rule


def rules() -> dict[str, Callable[[SimulatedCluster], float]]:
    """Ours first."""

    def most_free(cluster: SimulatedCluster, names: list[str]) -> str:
        return max(names, key=lambda name: (cluster.nodes[name].size - cluster.nodes[name].held, name))

    return {
        "llama-tandem": Ours(),
        "random node": simple(lambda cluster, names: cluster.chance.choice(names)),
        "least loaded node": simple(most_free),
    }


def measure(size: ClusterSize = ClusterSize(), seed: int = SEED) -> Iterator[ClusterDay]:
    """A row for each rule, on the same traffic."""
    for name, rule in rules().items():
        yield SimulatedCluster(size, seed, rule).run(name)
