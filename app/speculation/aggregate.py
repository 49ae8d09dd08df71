"""Measurements to figures by mode: acceptance, time per token, and goodput by how many were in flight. Pure.

Goodput is tokens delivered per second of decoding, all requests together. Requests overlap in part and run at speeds
of their own, so neither the speed of one times their number nor the mean over requests is it. Instead the requests
are laid out in time: each is in flight from its arrival to its end, and decodes from its first token on, at an even
pace. Every moment in which at least one decodes belongs to the level of how many are in flight then, waiting and
prefill included, since that is the load that the mode was under. A level's goodput is what was delivered in its
moments, divided by their length.

The first token of a request counts as prefill, as it does in time per output token. A neighbour that was not measured
(it failed, or left) is not seen.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.config.speculation import NONE
from app.records.ledger import Measurement

# In flight at once: 1, 2 or 3, and 4 or more.
LEVELS = (1, 2, 4)
LEVEL_NAMES = {1: "1", 2: "2-3", 4: "4+"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was delivered at one level: tokens, and the seconds in which at least one request decoded."""

    tokens: float
    seconds: float

    @property
    def goodput(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """One alias in one mode. Times per output token are in seconds, goodput is in tokens per second by level.

    What was not measured is None, or missing from `goodput`; `acceptance` is None where nothing was drafted.
    """

    mode: str
    requests: int
    tokens: int
    acceptance: float | None
    tpot_p50: float | None
    tpot_p95: float | None
    goodput: dict[int, float]


@dataclass(frozen=True, slots=True)
class Stats:
    """An alias's figures by mode, plain first; `older` counts requests that were measured on another setup."""

    alias: str
    modes: tuple[Figures, ...]
    older: int

    @property
    def plain(self) -> Figures | None:
        return next((figures for figures in self.modes if figures.mode == NONE), None)


def stats_of(alias: str, measurements: Iterable[Measurement], key: str) -> Stats:
    """`measurements` are the alias's; those under another key are only counted."""
    by_mode: dict[str, list[Measurement]] = defaultdict(list)
    older = 0
    for row in measurements:
        if row.key == key:
            by_mode[row.mode].append(row)
        else:
            older += 1
    modes = sorted(by_mode, key=lambda mode: (mode != NONE, mode))
    return Stats(alias, tuple(figures_of(mode, by_mode[mode]) for mode in modes), older)


def figures_of(mode: str, rows: Sequence[Measurement]) -> Figures:
    drafted = sum(row.drafted or 0 for row in rows)
    tpots = sorted(row.tpot for row in rows if row.tpot is not None)
    return Figures(
        mode=mode,
        requests=len(rows),
        tokens=sum(row.tokens for row in rows),
        acceptance=sum(row.accepted or 0 for row in rows if row.drafted) / drafted if drafted else None,
        tpot_p50=percentile(tpots, 0.50),
        tpot_p95=percentile(tpots, 0.95),
        goodput=goodput(rows),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of `ordered` do not exceed; None of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def goodput(rows: Iterable[Measurement]) -> dict[int, float]:
    """Tokens per second by level, levels without a moment left out; see the module's text."""
    return {level: delivery.goodput for level, delivery in deliveries(rows).items()}


def deliveries(rows: Iterable[Measurement]) -> dict[int, Delivery]:
    """What `goodput` is made of."""
    changes: list[tuple[float, int, int, float]] = []
    for row in rows:
        changes += [(row.at - row.seconds, 1, 0, 0.0), (row.at, -1, 0, 0.0)]
        # Seconds since the epoch hold a quarter of a microsecond: what decodes in less has no length.
        if row.tpot is not None and (began := row.at - row.tpot * (row.tokens - 1)) < row.at:
            pace = (row.tokens - 1) / (row.at - began)
            changes += [(began, 0, 1, pace), (row.at, 0, -1, -pace)]
    delivered: dict[int, float] = defaultdict(float)
    lasted: dict[int, float] = defaultdict(float)
    in_flight, decoding_now, pace_now, before = 0, 0, 0.0, 0.0
    for at, flights, decodings, pace in sorted(changes):
        if decoding_now and at > before:
            level = level_of(in_flight)
            delivered[level] += pace_now * (at - before)
            lasted[level] += at - before
        before = at
        in_flight, decoding_now = in_flight + flights, decoding_now + decodings
        # Paces that were added do not quite cancel out when they are taken off again.
        pace_now = pace_now + pace if decoding_now else 0.0
    return {level: Delivery(delivered[level], lasted[level]) for level in LEVELS if lasted[level] > 0}


def level_of(in_flight: int) -> int:
    """The highest of LEVELS that `in_flight` reaches, the lowest if it reaches none."""
    return LEVELS[max(0, bisect_right(LEVELS, in_flight) - 1)]


def ratio(value: float | None, plain: float | None) -> float | None:
    """`value` in units of plain decoding's; None where either was not measured."""
    return value / plain if value is not None and plain else None
