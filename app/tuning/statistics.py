"""Computes gains and their intervals from blocks. Pure Python, since the systems have seven unknowns at most.

For each block it takes the logarithm of goodput(arm) / goodput(plain); both answered the same prompts within minutes. A
least-squares fit splits it into effects of the kind of text and of the number in flight, and noise. The gain weighs all
kinds and levels equally. The interval is Student's, at 95 % for all arms of a run together (Bonferroni), since the best
of eight arms looks better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.speculation.bandit import LEAST_GAIN
from app.speculation.t_distribution import t_quantile
from app.tuning.design import Cell, Estimate

# Fewer rounds do not show their spread
LEAST_ROUNDS = 3
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured block: `tokens` in the `seconds` in which at least one request decoded."""

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
    """Returns the seconds covered by at least one (begin, end). Requests that share an engine overlap."""
    covered, reached = 0.0, -math.inf
    for begin, end in sorted(intervals):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered


def mean_goodput(samples: Sequence[Sample]) -> float | None:
    """Returns the geometric mean over blocks, all cells weighted equally. Returns None without a block."""
    by_cell: dict[tuple[str, int], list[float]] = {}
    for sample in samples:
        by_cell.setdefault((sample.cell.kind, sample.cell.in_flight), []).append(math.log(sample.goodput))
    means = [sum(values) / len(values) for values in by_cell.values()]
    return math.exp(sum(means) / len(means)) if means else None


def acceptance(samples: Iterable[Sample]) -> float | None:
    """Accepted / drafted tokens. None, not 0, if nothing was drafted."""
    drafts = list(samples)
    drafted = sum(sample.drafted for sample in drafts)
    return sum(sample.accepted for sample in drafts) / drafted if drafted else None


def log_ratios(arm: Iterable[Sample], plain: Iterable[Sample]) -> dict[Cell, float]:
    """Returns the ratios of the blocks that arm and plain decoding share."""
    base = {sample.cell: sample.goodput for sample in plain}
    return {sample.cell: math.log(sample.goodput / base[sample.cell]) for sample in arm if sample.cell in base}


def mean_gain(ratios: Mapping[Cell, float]) -> float | None:
    """Returns a gain without an interval, for one kind of text or level. Returns None without a block."""
    return math.exp(sum(ratios.values()) / len(ratios)) - 1 if ratios else None


def estimate(ratios: Mapping[Cell, float], comparisons: int = 1) -> Estimate | None:
    """Returns the gain, and its interval from three rounds on. Returns None without a block.

    `comparisons` is the number of arms without plain decoding.
    """
    if not ratios:
        return None
    fitted = _fit(ratios, levels=True) or _fit(ratios, levels=False)
    assert fitted is not None  # Every kind has a block
    centre, spread, freedom = fitted
    gain = math.exp(centre) - 1
    if freedom < 1 or len({cell.round for cell in ratios}) < LEAST_ROUNDS:
        return Estimate(gain, blocks=len(ratios))
    reach = t_quantile(1 - (1 - CONFIDENCE) / (2 * max(1, comparisons)), freedom) * spread
    return Estimate(gain, math.exp(centre - reach) - 1, math.exp(centre + reach) - 1, len(ratios))


def recommended(estimates: Mapping[str, Estimate]) -> str | None:
    """Returns the arm that should replace plain decoding, or None.

    Its interval excludes zero, and its gain is `LEAST_GAIN` or more. Of several it takes the highest lower bound, since
    the largest gain may be chance.
    """
    earned = {
        name: estimate.low
        for name, estimate in estimates.items()
        if estimate.low is not None and estimate.low > 0 and estimate.gain >= LEAST_GAIN
    }
    return max(earned, key=lambda name: earned[name]) if earned else None


def _fit(ratios: Mapping[Cell, float], *, levels: bool) -> tuple[float, float, int] | None:
    """Returns estimate, standard error and degrees of freedom.

    Returns None if the blocks cannot separate the effects.
    """
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
    """Solves by Gauss-Jordan elimination with pivots. Returns None for a singular matrix."""
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
