"""What cold starts have shown of the modes: each start is a trial, compared with its neighbours. Pure.

A trial is what one mode delivered between two cold starts. A thousand requests of one minute tell of that minute only,
and machines drift, so a gain is not made of totals: trials of the two modes are paired that follow each other within a
few starts, each in one pair only, and a pair's figure is the logarithm of the ratio of their goodputs at the same
number in flight. The spread from pair to pair is what the interval is made of, pooled over the modes, since each has
few; Student's t makes it exact for normal noise. Where modes take turns this is as sharp as comparing means, and a
drift cancels out of it.
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
# The most starts between two trials of a pair: where four modes take turns, all of them are neighbours.
_REACH = 4
# A pair of so many tokens weighs half as much as one without end: in short ones the texts differ, not the modes.
_HALF_TOKENS = 256
# What a trial delivers at one level at least: less is an overlap of two requests, not a load.
_LEAST_TOKENS = 16
# The largest number that has an exponential.
_MOST = 700.0

# Levels to deliveries
_Trial = Mapping[int, Delivery]


@dataclass(frozen=True, slots=True)
class Gain:
    """Goodput over another mode's, less one, and the bounds of its 90 % interval: -1 and infinity without one."""

    mean: float
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        return not math.isinf(self.high)

    def fields(self) -> dict[str, float | None]:
        """As the admin API shows it: 0.12 is 12 %."""
        low, high = (round(self.low, 4), round(self.high, 4)) if self.bounded else (None, None)
        return {"mean": round(self.mean, 4), "low": low, "high": high}

    def __str__(self) -> str:
        if not self.bounded:
            return f"{self.mean:+.1%} (too few cold starts for an interval)"
        return f"{self.mean:+.1%} ({INTERVAL} {self.low:+.1%} to {self.high:+.1%})"


@dataclass(frozen=True, slots=True)
class _Pair:
    """`value` is the logarithm of the ratio of goodputs, `weight` says how exact it is, of 1 at the most."""

    value: float
    weight: float


class Trials:
    """`starts` in the order of time, `measured` in any; both of one alias under one key."""

    def __init__(self, starts: Sequence[ColdStart] = (), measured: Iterable[Measurement] = ()) -> None:
        times = [start.at for start in starts]
        self._starts = starts
        rows: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
        for row in measured:
            rows[row.mode, bisect_right(times, row.at)].append(row)
        self._requests = Counter({key: len(some) for key, some in rows.items()})
        # By mode and the number of the start before them: 1 is the first, 0 what came before all.
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
        """All that were started or measured."""
        return sorted({*(start.mode for start in self._starts), *(mode for mode, _ in self._requests)})

    def requests(self, mode: str) -> int:
        return sum(count for (name, _), count in self._requests.items() if name == mode)

    def started(self, mode: str) -> int:
        return sum(start.mode == mode for start in self._starts)

    def served(self, mode: str | None = None) -> int:
        """Cold starts, of one mode or of all, after which requests were answered, in whatever mode."""
        busy = {number for _, number in self._requests}
        return sum(mode in (None, start.mode) for number, start in enumerate(self._starts, 1) if number in busy)

    def since(self, mode: str) -> int:
        """Cold starts after the last one of this mode; all where there was none."""
        own = [number for number, start in enumerate(self._starts, 1) if start.mode == mode]
        return len(self._starts) - (own[-1] if own else 0)

    # -- figures ---------------------------------------------------------------------------------------------

    def goodput(self, mode: str) -> dict[int, float]:
        """Tokens per second by level, over all trials."""
        trials = self._trials.get(mode, {}).values()
        at = {level: [trial[level] for trial in trials if level in trial] for level in LEVELS}
        return {level: sum(o.tokens for o in some) / sum(o.seconds for o in some) for level, some in at.items() if some}

    def gain(self, mode: str, other: str) -> Gain | None:
        """`mode` against `other`; None where they were never neighbours at the same level."""
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
        """Variance of a pair that weighs 1, and its degrees of freedom."""
        groups = [list(self._pairs(mode, NONE)) for mode in self._trials if mode != NONE]
        freedom = sum(max(0, len(pairs) - 1) for pairs in groups)
        squares = sum(pair.weight * (pair.value - _mean(pairs)) ** 2 for pairs in groups for pair in pairs)
        return (squares / freedom if freedom else 0.0), freedom

    def _pairs(self, mode: str, other: str) -> Iterator[_Pair]:
        """In the order of time; a trial that has found no neighbour is given up for a later one."""
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
    """Level by level, by the tokens that both have there; None where they have no level in common."""
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
