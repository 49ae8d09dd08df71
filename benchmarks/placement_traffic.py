"""Models and requests for the simulation of placement: a day of several kinds of traffic."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

GIB = 1 << 30
ALIASES, DAY_S = 200, 86_400.0
# Of Zipf's law: the n-th alias gets 1/n^S of the requests
S = 1.1
# Bytes per second, and what a load takes besides
LOAD_RATE, LOAD_S = 2 * GIB, 1.5
ANSWER_S = 5.0
# Of a conversation: the most turns, and the seconds between two
TURNS, PAUSE_S = 12, 30.0


@dataclass(frozen=True, slots=True)
class ModelSize:
    """One alias: the memory of its engine, and the duration of its load."""

    alias: str
    size: int

    @property
    def load_seconds(self) -> float:
        return LOAD_S + self.size / LOAD_RATE


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request; `answer` is the duration of its answer in seconds."""

    at: float
    alias: str
    answer: float


def spread_sizes(rng: random.Random) -> list[ModelSize]:
    """From 1 to 40 GiB, most of them small."""
    sizes = (min(max(rng.lognormvariate(math.log(7), 0.8), 1.0), 40.0) for _ in range(ALIASES))
    return [ModelSize(f"m{at}", int(size * GIB)) for at, size in enumerate(sizes)]


def two_sizes(rng: random.Random) -> list[ModelSize]:
    """Of 4 GiB, and a third of them of 36 GiB."""
    return [ModelSize(f"m{at}", (4 if rng.random() < 2 / 3 else 36) * GIB) for at in range(ALIASES)]


def single_requests(models: Sequence[ModelSize], rng: random.Random, requests: int, seconds: float, s: float) -> _Times:
    """By Zipf's law with the exponent `s`, 0 for all alike."""
    weights = [1 / rank**s for rank in range(1, len(models) + 1)]
    yield from zip(moments(rng, requests, seconds), rng.choices(models, weights, k=requests), strict=True)


def conversations(models: Sequence[ModelSize], rng: random.Random, requests: int, seconds: float, s: float) -> _Times:
    """Each with one model, in up to `TURNS` turns."""
    weights = [1 / rank**s for rank in range(1, len(models) + 1)]
    turns: list[tuple[float, ModelSize]] = []
    for at in moments(rng, requests * 2 // (TURNS + 1), seconds):
        model = rng.choices(models, weights)[0]
        for _ in range(rng.randint(1, TURNS)):
            turns.append((at, model))
            at += rng.expovariate(1 / PAUSE_S)
    yield from sorted(turns, key=lambda turn: turn[0])


_Times = Iterator[tuple[float, ModelSize]]


@dataclass(frozen=True, slots=True)
class Workload:
    """A day of about `requests` for these models, with so many bytes of memory."""

    name: str
    requests: int
    budget: int = 80 * GIB
    s: float = S
    sizes: Callable[[random.Random], list[ModelSize]] = spread_sizes
    times: Callable[[Sequence[ModelSize], random.Random, int, float, float], _Times] = single_requests

    def traffic(self, seed: int, days: float = 1.0) -> tuple[list[ModelSize], list[Arrival]]:
        """The models, and their requests in order."""
        rng = random.Random(seed)
        models = self.sizes(rng)
        times = list(self.times(models, rng, int(self.requests * days), DAY_S * days, self.s))
        return models, [Arrival(at, model.alias, rng.expovariate(1 / ANSWER_S)) for at, model in times]


ZIPF = Workload("Zipf", 8_000)
WORKLOADS = (
    ZIPF,
    Workload("uniform", 5_000, s=0.0),
    Workload("conversations", 8_000, times=conversations),
    Workload("two sizes", 6_000, sizes=two_sizes),
    Workload("44 GiB", 4_500, budget=44 * GIB),
    Workload("320 GiB", 12_000, budget=320 * GIB),
)


def moments(rng: random.Random, count: int, seconds: float) -> list[float]:
    """Busy by day and quiet by night; a part of a day has both."""
    moments: list[float] = []
    while len(moments) < count:
        at = rng.uniform(0, seconds)
        if rng.random() < 0.55 - 0.45 * math.cos(2 * math.pi * at / seconds):
            moments.append(at)
    return sorted(moments)
