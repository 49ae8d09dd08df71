"""The design of the experiment: what is asked when, for how long, and who goes on. Pure.

A *block* is one arm answering `in_flight` requests of one kind of text at once. A *round* gives every arm that is
still in the race the same blocks with the same prompts, in an order that changes: a machine that slows down slows all
arms down alike. Arms are compared block by block with plain decoding, never by their totals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

LEVELS = (1, 2, 4)
# Fewer rounds leave the interval too wide to say anything.
WANTED_ROUNDS = 4
# With fewer nothing can be said at all.
LEAST_ROUNDS = 3
# A shorter answer is over before drafting has found its pace; a longer one tells nothing more.
ANSWER_TOKENS = (24, 128)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cell:
    """One block of a round: what text, and how many requests at once."""

    round: int
    kind: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """An arm against plain decoding: `gain` 0.12 is 12 % more tokens per second; the interval is None while the
    blocks are too few for one."""

    gain: float
    low: float | None = None
    high: float | None = None
    blocks: int = 0


def cells(number: int, kinds: Sequence[str]) -> list[Cell]:
    """The blocks of round `number`, from 0. Three rounds show every kind at every level once.

    With fewer kinds than levels a round shows all of them, since it would be too short otherwise.
    """
    if len(kinds) < len(LEVELS):
        return [Cell(number, kind, level) for kind in kinds for level in LEVELS]
    return [Cell(number, kind, LEVELS[(number + at) % len(LEVELS)]) for at, kind in enumerate(kinds)]


def requests(plan: Sequence[Cell]) -> int:
    return sum(cell.in_flight for cell in plan)


def order(arms: Sequence[T], turn: int) -> list[T]:
    """Everyone gets every place as the turns go on, and every second turn goes backwards: a steady drift cancels."""
    at = (turn // 2) % len(arms) if arms else 0
    turned = [*arms[at:], *arms[:at]]
    return turned[::-1] if turn % 2 else turned


def prompt_numbers(cell: Cell, per_kind: int, *, before: int = 0) -> list[int]:
    """Which of a kind's prompts a block sends, the same for every arm; `before`: sent of this kind in this round.

    Consecutive ones, so that a round repeats none as long as there are enough: n-gram modes remember earlier
    answers, and would be flattered by seeing them again.
    """
    start = cell.round * sum(LEVELS) + before
    return [(start + at) % per_kind for at in range(cell.in_flight)]


def answer_tokens(tokens_per_second: float, seconds: float, requests_per_round: int) -> int:
    """How long answers may be so that the wanted rounds fit into the budget; `seconds` are those left.

    A slow machine gets shorter answers. Prefill and starts take up to half of the time on processors without a GPU.
    """
    fitting = tokens_per_second * seconds / 2 / max(1, requests_per_round * WANTED_ROUNDS)
    return round(min(max(fitting, ANSWER_TOKENS[0]), ANSWER_TOKENS[1]))


def beaten(estimates: Mapping[str, Estimate]) -> list[str]:
    """Arms whose interval lies below the best one's, worst first. Plain decoding is in the race with a gain of 0."""
    floor = max([0.0, *(estimate.low for estimate in estimates.values() if estimate.low is not None)])
    lost = [name for name, estimate in estimates.items() if estimate.high is not None and estimate.high < floor]
    return sorted(lost, key=lambda name: estimates[name].gain)


def worse_half(estimates: Mapping[str, Estimate]) -> list[str]:
    """Whom successive halving drops, worst first: half of the arms, rounded up, and never the last one."""
    ranked = sorted(estimates, key=lambda name: estimates[name].gain)
    return ranked[: min((len(ranked) + 1) // 2, len(ranked) - 1)] if len(ranked) > 1 else []


def too_slow(rounds_done: int, seconds_left: float, seconds_per_round: float) -> bool:
    """Whether the budget demands halving: at this pace the arms would not get the rounds that they need."""
    missing = WANTED_ROUNDS - rounds_done
    return missing > 0 and seconds_left < missing * seconds_per_round
