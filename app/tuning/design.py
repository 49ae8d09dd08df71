"""Designs the experiment: prompts, their order, answer lengths, and which arms continue. Pure.

A *block* is one arm answering `in_flight` requests of one kind of text at once. A *round* gives every remaining arm the
same blocks with the same prompts, in a changing order: a machine that slows down slows all arms equally. Arms are
compared with plain decoding block by block, never by their totals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

LEVELS = (1, 2, 4)
# With fewer rounds the interval is too wide to be useful.
WANTED_ROUNDS = 4
# With fewer rounds there is no interval.
LEAST_ROUNDS = 3
# A shorter answer ends before drafting reaches its speed. A longer one adds no information.
ANSWER_TOKENS = (24, 128)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cell:
    """One block of a round: the kind of text, and the number of concurrent requests."""

    round: int
    kind: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """An arm against plain decoding: `gain` 0.12 is 12 % more tokens per second.

    The interval is None if there are too few blocks for one.
    """

    gain: float
    low: float | None = None
    high: float | None = None
    blocks: int = 0


def cells(number: int, kinds: Sequence[str]) -> list[Cell]:
    """Returns the blocks of round `number`, from 0. Three rounds show every kind at every level once.

    With fewer kinds than levels, every round shows all kinds, since it would be too short otherwise.
    """
    if len(kinds) < len(LEVELS):
        return [Cell(number, kind, level) for kind in kinds for level in LEVELS]
    return [Cell(number, kind, LEVELS[(number + at) % len(LEVELS)]) for at, kind in enumerate(kinds)]


def requests(plan: Sequence[Cell]) -> int:
    return sum(cell.in_flight for cell in plan)


def order(arms: Sequence[T], turn: int) -> list[T]:
    """Returns the arms in the order of a turn.

    Each arm gets each place, and every second turn is reversed, so a steady drift cancels out.
    """
    at = (turn // 2) % len(arms) if arms else 0
    turned = [*arms[at:], *arms[:at]]
    return turned[::-1] if turn % 2 else turned


def prompt_numbers(cell: Cell, per_kind: int, *, before: int = 0) -> list[int]:
    """Returns the prompt numbers of a block, the same for every arm. `before` counts those of this kind in this round.

    They are consecutive, so a round repeats none while there are enough. n-gram modes remember earlier answers, so a
    repeated prompt would favour them.
    """
    start = cell.round * sum(LEVELS) + before
    return [(start + at) % per_kind for at in range(cell.in_flight)]


def answer_tokens(tokens_per_second: float, seconds: float, requests_per_round: int) -> int:
    """Returns the answer length that fits the rounds into the budget. `seconds` are those left.

    A slow machine gets shorter answers. Prefill and starts take up to half of the time without a GPU.
    """
    fitting = tokens_per_second * seconds / 2 / max(1, requests_per_round * WANTED_ROUNDS)
    return round(min(max(fitting, ANSWER_TOKENS[0]), ANSWER_TOKENS[1]))


def beaten(estimates: Mapping[str, Estimate]) -> list[str]:
    """Returns the arms whose interval is below the best one's, worst first.

    Plain decoding takes part with a gain of 0.
    """
    floor = max([0.0, *(estimate.low for estimate in estimates.values() if estimate.low is not None)])
    lost = [name for name, estimate in estimates.items() if estimate.high is not None and estimate.high < floor]
    return sorted(lost, key=lambda name: estimates[name].gain)


def worse_half(estimates: Mapping[str, Estimate]) -> list[str]:
    """Returns the arms that successive halving drops, worst first: half of them, rounded up, and never the last one."""
    ranked = sorted(estimates, key=lambda name: estimates[name].gain)
    return ranked[: min((len(ranked) + 1) // 2, len(ranked) - 1)] if len(ranked) > 1 else []


def too_slow(rounds_done: int, seconds_left: float, seconds_per_round: float) -> bool:
    """Tells whether the budget requires halving: at this pace the arms cannot complete their rounds."""
    missing = WANTED_ROUNDS - rounds_done
    return missing > 0 and seconds_left < missing * seconds_per_round
