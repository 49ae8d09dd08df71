"""From blocks to a gain with its interval. Pure Python: the problems are of seven unknowns at most.

The logarithm of goodput(arm) / goodput(plain) is taken block by block, where both answered the same prompts within
minutes of each other. It is fitted by least squares as the sum of an effect of the kind of text, one of the number in
flight, and noise; the gain weighs all kinds and all levels alike. The interval is Student's, at 95 % for all arms of a
run together (Bonferroni): the best of eight arms looks better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.speculation.bandit import LEAST_GAIN
from app.speculation.t_distribution import t_quantile
from app.tuning.design import Cell, Estimate

# Fewer rounds tell nothing of the spread between them
LEAST_ROUNDS = 3
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Sample:
    """One block as measured: `tokens` came in `seconds` in which the engine decoded for at least one request."""

    cell: Cell
    tokens: int
    seconds: float
    drafted: int = 0
    accepted: int = 0

    @property
    def goodput(self) -> float:
        """Tokens per second of decode time."""
        return self.tokens / self.seconds


def union(intervals: Iterable[tuple[float, float]]) -> float:
    """Seconds covered by at least one (begin, end): where requests share the engine their times overlap."""
    covered, reached = 0.0, -math.inf
    for begin, end in sorted(intervals):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered


def mean_goodput(samples: Sequence[Sample]) -> float | None:
    """Geometric mean over blocks, all cells weighing alike; None without a block."""
    by_cell: dict[tuple[str, int], list[float]] = {}
    for sample in samples:
        by_cell.setdefault((sample.cell.kind, sample.cell.in_flight), []).append(math.log(sample.goodput))
    means = [sum(values) / len(values) for values in by_cell.values()]
    return math.exp(sum(means) / len(means)) if means else None


def acceptance(samples: Iterable[Sample]) -> float | None:
    """Accepted / drafted tokens; absent, not 0, where nothing was drafted."""
    drafts = list(samples)
    drafted = sum(sample.drafted for sample in drafts)
    return sum(sample.accepted for sample in drafts) / drafted if drafted else None


def log_ratios(arm: Iterable[Sample], plain: Iterable[Sample]) -> dict[Cell, float]:
    """The arm's blocks that plain decoding had as well."""
    base = {sample.cell: sample.goodput for sample in plain}
    return {sample.cell: math.log(sample.goodput / base[sample.cell]) for sample in arm if sample.cell in base}


def mean_gain(ratios: Mapping[Cell, float]) -> float | None:
    """Without an interval: for a single kind of text or level. None without a block."""
    return math.exp(sum(ratios.values()) / len(ratios)) - 1 if ratios else None


def estimate(ratios: Mapping[Cell, float], comparisons: int = 1) -> Estimate | None:
    """The gain and its interval, which takes three rounds; None without a block.

    `comparisons` is the number of arms beside plain decoding.
    """
    if not ratios:
        return None
    fitted = _fit(ratios, levels=True) or _fit(ratios, levels=False)
    assert fitted is not None  # every kind that is there has a block
    centre, spread, freedom = fitted
    gain = math.exp(centre) - 1
    if freedom < 1 or len({cell.round for cell in ratios}) < LEAST_ROUNDS:
        return Estimate(gain, blocks=len(ratios))
    reach = t_quantile(1 - (1 - CONFIDENCE) / (2 * max(1, comparisons)), freedom) * spread
    return Estimate(gain, math.exp(centre - reach) - 1, math.exp(centre + reach) - 1, len(ratios))


def recommended(estimates: Mapping[str, Estimate]) -> str | None:
    """The arm to leave plain decoding for; None where none earns it.

    Its interval excludes zero and its gain is `LEAST_GAIN` or more. Among several the one that is certain of most:
    the largest gain may be a lucky one.
    """
    earned = {
        name: estimate.low
        for name, estimate in estimates.items()
        if estimate.low is not None and estimate.low > 0 and estimate.gain >= LEAST_GAIN
    }
    return max(earned, key=lambda name: earned[name]) if earned else None


def _fit(ratios: Mapping[Cell, float], *, levels: bool) -> tuple[float, float, int] | None:
    """Estimate, standard error and degrees of freedom; None where the blocks cannot tell the effects apart."""
    kinds = sorted({cell.kind for cell in ratios})
    steps = sorted({cell.in_flight for cell in ratios}) if levels else [0]
    rows = [
        [float(cell.kind == kind) for kind in kinds] + [float(cell.in_flight == step) for step in steps[1:]]
        for cell in ratios
    ]
    values = list(ratios.values())
    weights = [1 / len(kinds)] * len(kinds) + [1 / len(steps)] * (len(steps) - 1)
    columns = range(len(weights))
    squares = [[sum(row[i] * row[j] for row in rows) for j in columns] for i in columns]
    effects = _solve(squares, [sum(row[i] * y for row, y in zip(rows, values, strict=True)) for i in columns])
    shares = _solve(squares, weights)
    if effects is None or shares is None:
        return None
    residual = sum(
        (y - sum(e * x for e, x in zip(effects, row, strict=True))) ** 2 for row, y in zip(rows, values, strict=True)
    )
    freedom = len(values) - len(weights)
    if freedom < 1 and levels:
        return None
    variance = residual / max(1, freedom) * sum(w * s for w, s in zip(weights, shares, strict=True))
    return sum(w * e for w, e in zip(weights, effects, strict=True)), math.sqrt(max(0.0, variance)), freedom


def _solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float] | None:
    """Gauss-Jordan with pivots; None for a singular matrix."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for at in range(len(rows)):
        pivot = max(range(at, len(rows)), key=lambda row: abs(rows[row][at]))
        if abs(rows[pivot][at]) < 1e-9:
            return None
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [value / rows[at][at] for value in rows[at]]
        for other in range(len(rows)):
            if other != at:
                rows[other] = [a - rows[other][at] * b for a, b in zip(rows[other], rows[at], strict=True)]
    return [row[-1] for row in rows]
