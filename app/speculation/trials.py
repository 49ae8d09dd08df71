"""Compares modes by cold starts: each start is a trial, compared with neighbouring ones. Pure.

A trial is the output of one mode between two cold starts. A thousand requests of one minute describe that minute only,
and machines drift, so gains are not computed from totals. Instead, trials of two modes that follow each other within a
few starts form a pair. Each trial is in one pair only. A pair's figure is the logarithm of the ratio of their goodputs
at the same number in flight. The spread between pairs gives the interval. It is pooled over the modes, since each has
few pairs; Student's t makes it exact for normal noise. If modes take turns this is as precise as comparing means, and a
drift cancels out.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.config.speculation import NONE
from app.records.ledger import ColdStart, Measurement
from app.speculation.aggregate import LEVELS, Delivery, deliveries
from app.speculation.t_distribution import t_quantile

# A bound holds in 19 of 20 cases, both bounds of an interval in 18.
_CONFIDENCE, INTERVAL = 0.95, "90 % interval"
# The most starts between two trials of a pair. If four modes take turns, all are neighbours.
_REACH = 4
# A pair with so many tokens has half of the maximum weight: in short ones the texts differ more than the modes.
_HALF_TOKENS = 256
# The least output of a trial at one level. Less is an overlap of two requests rather than a load.
_LEAST_TOKENS = 16
# The largest number with a finite exponential.
_MOST = 700.0

# Levels to deliveries
_Trial = Mapping[int, Delivery]


@dataclass(frozen=True, slots=True)
class Gain:
    """Goodput relative to another mode's, minus 1, and the bounds of its 90 % interval (-1 and infinity
    without one)."""

    mean: float
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        return not math.isinf(self.high)

    def fields(self) -> dict[str, float | None]:
        """Returns the fields of the admin API: 0.12 is 12 %."""
        low, high = (round(self.low, 4), round(self.high, 4)) if self.bounded else (None, None)
        return {"mean": round(self.mean, 4), "low": low, "high": high}

    def __str__(self) -> str:
        if not self.bounded:
            return f"{self.mean:+.1%} (too few cold starts for an interval)"
        return f"{self.mean:+.1%} ({INTERVAL} {self.low:+.1%} to {self.high:+.1%})"


@dataclass(frozen=True, slots=True)
class _Pair:
    """`value` is the logarithm of the ratio of goodputs. `weight`, at most 1, is its precision."""

    value: float
    weight: float


class Trials:
    """`starts` are in order of time, `measured` in any order. Both are of one alias under one key."""

    def __init__(self, starts: Sequence[ColdStart] = (), measured: Iterable[Measurement] = ()) -> None:
        times = [start.at for start in starts]
        self._starts = starts
        rows: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
        for row in measured:
            rows[row.mode, bisect_right(times, row.at)].append(row)
        self._requests = Counter({key: len(some) for key, some in rows.items()})
        # By mode and the number of starts before them: 1 is the first start, 0 is before all starts.
        self._trials: dict[str, dict[int, _Trial]] = defaultdict(dict)
        for mode, number in sorted(rows):
            levels = deliveries(rows[mode, number])
            trial = {level: delivery for level, delivery in levels.items() if delivery.tokens >= _LEAST_TOKENS}
            if trial:
                self._trials[mode][number] = trial
        self._variance, self._freedom = self._noise()

    # -- counts ----------------------------------------------------------------------------------------------

    @property
    def modes(self) -> list[str]:
        """All modes that were started or measured."""
        return sorted({*(start.mode for start in self._starts), *(mode for mode, _ in self._requests)})

    def requests(self, mode: str) -> int:
        return sum(count for (name, _), count in self._requests.items() if name == mode)

    def started(self, mode: str) -> int:
        return sum(start.mode == mode for start in self._starts)

    def served(self, mode: str | None = None) -> int:
        """Counts the cold starts of one mode or of all that answered requests, in any mode."""
        busy = {number for _, number in self._requests}
        return sum(mode in (None, start.mode) for number, start in enumerate(self._starts, 1) if number in busy)

    def since(self, mode: str) -> int:
        """Counts the cold starts after this mode's last one, or all if it had none."""
        own = [number for number, start in enumerate(self._starts, 1) if start.mode == mode]
        return len(self._starts) - (own[-1] if own else 0)

    # -- figures ---------------------------------------------------------------------------------------------

    def goodput(self, mode: str) -> dict[int, float]:
        """Returns tokens per second by level, over all trials."""
        trials = self._trials.get(mode, {}).values()
        at = {level: [trial[level] for trial in trials if level in trial] for level in LEVELS}
        return {level: sum(o.tokens for o in some) / sum(o.seconds for o in some) for level, some in at.items() if some}

    def gain(self, mode: str, other: str) -> Gain | None:
        """Returns the gain of `mode` over `other`, or None if they were never neighbours at the same level."""
        pairs = list(self._pairs(mode, other))
        if not pairs:
            return None
        mean = _mean(pairs)
        if not self._freedom:
            return Gain(_less_one(mean), -1.0, math.inf)
        error = math.sqrt(self._variance / sum(pair.weight for pair in pairs))
        reach = t_quantile(_CONFIDENCE, self._freedom) * error
        return Gain(_less_one(mean), _less_one(mean - reach), _less_one(mean + reach))

    def _noise(self) -> tuple[float, int]:
        """Returns the variance of a pair with weight 1, and its degrees of freedom."""
        groups = [list(self._pairs(mode, NONE)) for mode in self._trials if mode != NONE]
        freedom = sum(max(0, len(pairs) - 1) for pairs in groups)
        squares = sum(pair.weight * (pair.value - _mean(pairs)) ** 2 for pairs in groups for pair in pairs)
        return (squares / freedom if freedom else 0.0), freedom

    def _pairs(self, mode: str, other: str) -> Iterator[_Pair]:
        """Yields pairs in order of time. A trial without a neighbour gives way to a later one."""
        ours, theirs = self._trials.get(mode, {}), self._trials.get(other, {})
        left: dict[bool, tuple[int, _Trial]] = {}
        for number in sorted({*ours, *theirs}):
            left |= {side: (number, some[number]) for side, some in ((True, ours), (False, theirs)) if number in some}
            if len(left) == 2:
                (first, our), (second, their) = left[True], left[False]
                pair = _compared(our, their) if abs(first - second) <= _REACH else None
                if pair is not None:
                    yield pair
                    left.clear()


def _compared(ours: _Trial, theirs: _Trial) -> _Pair | None:
    """Compares two trials by level, weighted by tokens. Returns None without a common level."""
    tokens = {level: min(ours[level].tokens, theirs[level].tokens) for level in ours.keys() & theirs.keys()}
    if not tokens:
        return None
    total = sum(tokens.values())
    ratios = (math.log(ours[level].goodput / theirs[level].goodput) * some for level, some in tokens.items())
    return _Pair(sum(ratios) / total, total / (total + _HALF_TOKENS))


def _mean(pairs: Sequence[_Pair]) -> float:
    return sum(pair.weight * pair.value for pair in pairs) / sum(pair.weight for pair in pairs)


def _less_one(logarithm: float) -> float:
    return math.expm1(min(logarithm, _MOST))
