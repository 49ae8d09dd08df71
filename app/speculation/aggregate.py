"""Aggregates measurements to figures by mode: acceptance, time per token, and goodput by requests in flight. Pure.

Goodput is tokens delivered per second of decoding, all requests together. Requests overlap in part and have different
speeds, so it is neither one request's speed times their number nor a mean over requests. Instead the requests are
placed on a time line: each is in flight from its arrival to its end, and decodes evenly from its first token on. Each
moment with a decoding request belongs to the level of its requests in flight. These include waiting requests and
prefill, since they load the engine too. A level's goodput is the tokens of its moments, divided by their length.

The first token of a request counts as prefill, as in time per output token. Unmeasured requests (failed or cancelled
ones) are missing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.config.speculation import NONE
from app.records.ledger import Measurement

# Requests in flight: 1, 2 or 3, and 4 or more.
LEVELS = (1, 2, 4)
LEVEL_NAMES = {1: "1", 2: "2-3", 4: "4+"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """The output at one level: tokens, and the seconds in which at least one request decoded."""

    tokens: float
    seconds: float

    @property
    def goodput(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class ModeFigures:
    """The figures of one alias in one mode.

    Times per output token are in seconds, goodput in tokens per second by level.

    None, or a missing level in `goodput`, means not measured. `acceptance` is None if nothing was drafted.
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
    """An alias's figures by mode, plain first. `older` counts requests measured on another setup."""

    alias: str
    modes: tuple[ModeFigures, ...]
    older: int

    @property
    def plain(self) -> ModeFigures | None:
        return next((figures for figures in self.modes if figures.mode == NONE), None)


def stats_of(alias: str, measurements: Iterable[Measurement], key: str) -> Stats:
    """Aggregates an alias's `measurements`. Those under another key are only counted."""
    by_mode: dict[str, list[Measurement]] = defaultdict(list)
    older = 0
    for row in measurements:
        if row.key == key:
            by_mode[row.mode].append(row)
        else:
            older += 1
    modes = sorted(by_mode, key=lambda mode: (mode != NONE, mode))
    return Stats(alias, tuple(figures_of(mode, by_mode[mode]) for mode in modes), older)


def figures_of(mode: str, rows: Sequence[Measurement]) -> ModeFigures:
    drafted = sum(row.drafted or 0 for row in rows)
    tpots = sorted(row.tpot for row in rows if row.tpot is not None)
    return ModeFigures(
        mode=mode,
        requests=len(rows),
        tokens=sum(row.tokens for row in rows),
        acceptance=sum(row.accepted or 0 for row in rows if row.drafted) / drafted if drafted else None,
        tpot_p50=percentile(tpots, 0.50),
        tpot_p95=percentile(tpots, 0.95),
        goodput=goodput(rows),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Returns the smallest value that at least `share` of `ordered` do not exceed. Returns None for no values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def goodput(rows: Iterable[Measurement]) -> dict[int, float]:
    """Returns tokens per second by level, without levels that never occurred. The module's docstring defines it."""
    return {level: delivery.goodput for level, delivery in deliveries(rows).items()}


def deliveries(rows: Iterable[Measurement]) -> dict[int, Delivery]:
    """Returns tokens and seconds by level, from which `goodput` is computed."""
    changes: list[tuple[float, int, int, float]] = []
    for row in rows:
        changes += [(row.at - row.seconds, 1, 0, 0.0), (row.at, -1, 0, 0.0)]
        # Seconds since the epoch have a precision of a quarter of a microsecond. A shorter decode has no length.
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
        # Added paces do not exactly cancel out when subtracted again.
        pace_now = pace_now + pace if decoding_now else 0.0
    return {level: Delivery(delivered[level], lasted[level]) for level in LEVELS if lasted[level] > 0}


def level_of(in_flight: int) -> int:
    """Returns the highest of LEVELS up to `in_flight`, or the lowest."""
    return LEVELS[max(0, bisect_right(LEVELS, in_flight) - 1)]


def ratio(value: float | None, plain: float | None) -> float | None:
    """Returns `value` relative to plain decoding, or None if either is unknown."""
    return value / plain if value is not None and plain else None
