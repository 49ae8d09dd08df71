"""A day of traffic over 200 aliases, event by event: our policy beside those that others have.

Every rule runs on the same machine and the same traffic. One load at a time, engines of measured sizes on one device,
answers of some seconds. Nothing here sleeps: a day is a list of events.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.scheduler.demand import UNUSED, Demand
from app.scheduler.line import WaitingLine
from app.scheduler.policy import decide, next_look
from app.scheduler.room import UNCAPPED
from app.scheduler.snapshot import (
    Drain,
    EngineTable,
    EngineView,
    Grant,
    NoMemory,
    NoRoom,
    SchedulerSnapshot,
    Start,
    Wait,
)
from app.supervisor.states import EngineState
from benchmarks.placement_traffic import ZIPF, Arrival, ModelSize, Workload
from benchmarks.timeline import Timeline

DEVICE = "CUDA0"
SEED = 17
SEEDS = (SEED, 23, 41, 59, 83)
STOP_S = 0.5

_READY, _STOPPED = EngineState.READY, EngineState.STOPPED


@dataclass(slots=True)
class _Simulated:
    """One engine; `waiting` are the moments at which its requests came, and their answers' seconds."""

    model: ModelSize
    state: EngineState = _STOPPED
    in_flight: int = 0
    last_used: float = -math.inf
    ready_at: float = -math.inf
    load_seconds: float = 1.0
    demand: Demand = UNUSED
    waiting: list[Arrival] = field(default_factory=list)

    def view(self) -> EngineView:
        return EngineView(
            self.model.alias,
            self.state,
            self.in_flight,
            last_used=self.last_used,
            ready_at=self.ready_at,
            load_seconds=self.load_seconds,
            demand=self.demand,
            needs={DEVICE: self.model.size},
        )


@dataclass(frozen=True, slots=True)
class DayOfTraffic:
    """What became of it; waits in seconds."""

    rule: str
    cold_starts: float
    p50: float
    p99: float
    mean: float


class SimulatedGateway:
    """Runs `rule` over the traffic; a rule looks at it and calls `start` and `drain`."""

    def __init__(self, models: Sequence[ModelSize], budget: int, rule: Callable[[SimulatedGateway], float]) -> None:
        self._time = Timeline()
        self.budget = budget
        self.engines = {model.alias: _Simulated(model) for model in models}
        self.up: dict[str, _Simulated] = {}
        self.wanted: dict[str, _Simulated] = {}
        self.loads = 0
        self._rule = rule
        self._waits: list[float] = []

    @property
    def now(self) -> float:
        return self._time.now

    def run(self, name: str, traffic: Sequence[Arrival]) -> DayOfTraffic:
        for arrival in traffic:
            self._time.at(arrival.at, lambda arrival=arrival: self._arrives(arrival))  # type: ignore[misc]
        for _ in self._time.run():
            if self.wanted:
                self._time.look_at(self._rule(self))
        assert len(self._waits) == len(traffic), "somebody waits for ever"
        cuts = statistics.quantiles(self._waits, n=100)
        mean = statistics.fmean(self._waits)
        return DayOfTraffic(name, self.loads / len(traffic), cuts[49], cuts[98], mean)

    @property
    def held(self) -> int:
        return sum(engine.model.size for engine in self.up.values())

    def start(self, engine: _Simulated) -> None:
        assert engine.state is _STOPPED
        self.loads += 1
        engine.state = EngineState.STARTING
        self.up[engine.model.alias] = engine
        assert self.held <= self.budget, "over budget"
        self._time.at(self.now + engine.model.load_seconds, lambda: self._loaded(engine))

    def drain(self, engine: _Simulated) -> None:
        engine.state = EngineState.DRAINING
        self._drained(engine)

    def grant(self, engine: _Simulated) -> None:
        for arrival in engine.waiting:
            self._waits.append(self.now - arrival.at)
            engine.demand = engine.demand.asked(self.now)
            engine.in_flight += 1
            self._time.at(self.now + arrival.answer, lambda: self._answered(engine))
        engine.waiting.clear()
        self.wanted.pop(engine.model.alias, None)

    def _arrives(self, arrival: Arrival) -> None:
        engine = self.engines[arrival.alias]
        engine.waiting.append(arrival)
        self.wanted[arrival.alias] = engine
        if engine.state is _READY:
            self.grant(engine)

    def _loaded(self, engine: _Simulated) -> None:
        engine.state, engine.ready_at = _READY, self.now
        engine.load_seconds = engine.model.load_seconds

    def _answered(self, engine: _Simulated) -> None:
        engine.in_flight -= 1
        engine.last_used = self.now
        if engine.state is EngineState.DRAINING:
            self._drained(engine)

    def _drained(self, engine: _Simulated) -> None:
        if engine.in_flight == 0:
            engine.state = EngineState.STOPPING
            self._time.at(self.now + STOP_S, lambda: self._stopped(engine))

    def _stopped(self, engine: _Simulated) -> None:
        engine.state = _STOPPED
        del self.up[engine.model.alias]


def ours(gateway: SimulatedGateway) -> float:
    """`policy.decide`, as the scheduler calls it."""
    known = {**gateway.up, **gateway.wanted}
    snapshot = SchedulerSnapshot(
        gateway.now,
        UNCAPPED,
        EngineTable(engine.view() for engine in known.values()),
        WaitingLine(Wait(alias, engine.waiting[0].at) for alias, engine in gateway.wanted.items()),
        budgets={DEVICE: gateway.budget},
    )
    for action in decide(snapshot):
        engine = gateway.engines[action.alias]
        match action:
            case Grant():
                gateway.grant(engine)
            case Start():
                gateway.start(engine)
            case Drain():
                gateway.drain(engine)
            case NoMemory() | NoRoom():
                raise AssertionError(action)
    return next_look(snapshot)


def evicting(
    first: Callable[[_Simulated], float], room: Callable[[SimulatedGateway, _Simulated], bool]
) -> Callable[[SimulatedGateway], float]:
    """A rule of others: the request that came first gets room from idle engines, the one of the least `first` first;
    those behind it wait. A busy engine is never closed.
    """

    def rule(gateway: SimulatedGateway) -> float:
        for engine in [engine for engine in gateway.wanted.values() if engine.state is _READY]:
            gateway.grant(engine)
        loading = any(engine.state is EngineState.STARTING for engine in gateway.up.values())
        heads = [engine for engine in gateway.wanted.values() if engine.state is _STOPPED]
        if not heads or loading:
            return math.inf
        head = min(heads, key=lambda engine: engine.waiting[0].at)
        if room(gateway, head):
            gateway.start(head)
        elif all(engine.state is _READY for engine in gateway.up.values()):
            idle = [engine for engine in gateway.up.values() if engine.in_flight == 0]
            if idle:
                gateway.drain(min(idle, key=first))
        return math.inf

    return rule


def rules(models: Sequence[ModelSize], budget: int) -> dict[str, Callable[[SimulatedGateway], float]]:
    """By count: as many as fit whichever they are, since nobody looks at sizes."""
    largest = sorted((model.size for model in models), reverse=True)
    places = next(n for n in range(len(largest), 0, -1) if sum(largest[:n]) <= budget)

    def by_memory(gateway: SimulatedGateway, engine: _Simulated) -> bool:
        return gateway.held + engine.model.size <= budget

    def by_count(gateway: SimulatedGateway, _: _Simulated) -> bool:
        return len(gateway.up) < places

    return {
        "ours": ours,
        "LRU by memory": evicting(lambda engine: engine.last_used, by_memory),
        "LRU by count": evicting(lambda engine: engine.last_used, by_count),
        "FIFO by memory": evicting(lambda engine: engine.ready_at, by_memory),
    }


def measure(seed: int = SEED, days: float = 1.0, workload: Workload = ZIPF) -> list[DayOfTraffic]:
    """A row for each rule, ours first, on the same traffic."""
    models, traffic = workload.traffic(seed, days)
    return [
        SimulatedGateway(models, workload.budget, rule).run(name, traffic)
        for name, rule in rules(models, workload.budget).items()
    ]


def compare(workload: Workload, seeds: Sequence[int], days: float = 1.0) -> list[DayOfTraffic]:
    """A row for each rule, ours first: the means over the seeds."""
    by_seed = [measure(seed, days, workload) for seed in seeds]
    return [
        DayOfTraffic(
            same_rule[0].rule,
            *(
                statistics.fmean(getattr(day, name) for day in same_rule)
                for name in ("cold_starts", "p50", "p99", "mean")
            ),
        )
        for same_rule in zip(*by_seed, strict=True)
    ]
