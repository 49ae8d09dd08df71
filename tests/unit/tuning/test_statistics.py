"""A known gain is found, none is not, and the interval means what it says. All data are made from a seed."""

import math
import random

import pytest

from app.tuning.design import Cell, Estimate, cells
from app.tuning.statistics import (
    Sample,
    acceptance,
    estimate,
    log_ratios,
    mean_goodput,
    recommended,
    union,
)

KINDS = ("code edit", "chat", "summary", "repeat")


def blocks(dice: random.Random, rounds: int, gain: float, noise: float, **more: float) -> tuple[list[Sample], ...]:
    """Plain and an arm on a machine that slows down to half; `more` are further gains by kind."""
    plain, arm = [], []
    for cell in (cell for number in range(rounds) for cell in cells(number, KINDS)):
        speed = 50 / (1 + cell.round / rounds) * (1 + cell.in_flight / 4)
        factor = (1 + gain) * (1 + more.get(cell.kind.replace(" ", "_"), 0))
        plain.append(Sample(cell, 1000, 1000 / speed * math.exp(dice.gauss(0, noise))))
        arm.append(Sample(cell, 1000, 1000 / (speed * factor) * math.exp(dice.gauss(0, noise))))
    return plain, arm


@pytest.mark.parametrize("gain", [0.25, 0.05, -0.1])
def test_a_known_gain_is_found(gain: float) -> None:
    """On a machine whose speed halves during the run, from twelve rounds with 2 % of noise."""
    plain, arm = blocks(random.Random(1), 12, gain, 0.02)
    measured = estimate(log_ratios(arm, plain))
    assert measured is not None and measured.low is not None and measured.high is not None
    assert measured.low < gain < measured.high and measured.high - measured.low < 0.04
    assert recommended({"arm": measured}) == ("arm" if gain > 0 else None)


def test_fewer_than_three_rounds_make_no_interval() -> None:
    """They tell nothing of how far rounds lie apart, however many blocks they have."""
    for rounds in (1, 2, 3):
        plain, arm = blocks(random.Random(1), rounds, 0.1, 0.02)
        measured = estimate(log_ratios(arm, plain))
        assert measured is not None and (measured.low is None) is (rounds < 3)


def test_intervals_hold_what_they_promise() -> None:
    """95 % of them hold the truth, whatever the kinds of text add."""
    dice, hits = random.Random(2), 0
    for _ in range(400):
        plain, arm = blocks(dice, 6, 0.1, 0.05, repeat=0.8, chat=-0.1)
        measured = estimate(log_ratios(arm, plain))
        truth = 1.1 * (1.8 * 0.9) ** (1 / 4) - 1
        assert measured is not None and measured.low is not None and measured.high is not None
        hits += measured.low < truth < measured.high
    assert 0.92 < hits / 400 < 0.98


def test_nothing_is_rarely_taken_for_a_gain() -> None:
    """Six arms that do not differ from plain decoding: fewer than one run in twenty recommends one."""
    dice, wrong = random.Random(3), 0
    for _ in range(200):
        estimates = {}
        for name in "abcdef":
            plain, arm = blocks(dice, 5, 0.0, 0.05)
            estimates[name] = estimate(log_ratios(arm, plain), comparisons=6)
        wrong += recommended({name: value for name, value in estimates.items() if value}) is not None
    assert wrong / 200 < 0.05


def test_a_gain_below_two_percent_is_not_worth_it() -> None:
    """However certain it is."""
    assert recommended({"a": Estimate(0.019, 0.018, 0.02)}) is None
    assert recommended({"a": Estimate(0.02, 0.001, 0.04)}) == "a"
    assert recommended({"a": Estimate(0.3, -0.01, 0.6), "b": Estimate(0.5)}) is None


def test_the_surer_of_two_gains_is_recommended() -> None:
    """A large one from few blocks may be luck."""
    assert recommended({"lucky": Estimate(0.4, 0.01, 0.9), "sure": Estimate(0.3, 0.25, 0.35)}) == "sure"


def test_one_round_gives_a_gain_without_an_interval() -> None:
    """Four blocks of four kinds cannot tell noise from what the text does."""
    plain, arm = blocks(random.Random(4), 1, 0.2, 0.0)
    measured = estimate(log_ratios(arm, plain))
    assert measured is not None and measured.gain == pytest.approx(0.2)
    assert (measured.low, measured.high, measured.blocks) == (None, None, 4)
    assert estimate({}) is None


def test_only_blocks_that_both_had_are_compared() -> None:
    """A run that is broken off leaves plain decoding ahead by some."""
    plain, arm = blocks(random.Random(5), 2, 0.2, 0.0)
    assert len(log_ratios(arm[:3], plain)) == len(log_ratios(arm, plain[:3])) == 3


def test_decode_time_is_counted_once_where_requests_overlap() -> None:
    """Two that share the engine for a second are one second of decoding; two in a row are two."""
    assert union([(0, 1), (0, 1)]) == 1
    assert union([(1, 2), (0, 1)]) == 2
    assert union([(0, 3), (1, 2), (2.5, 4)]) == 4
    assert union([]) == 0


def test_goodput_weighs_cells_alike() -> None:
    """A cell that was seen twice counts once."""
    samples = [Sample(Cell(n, kind, 1), 100, s) for n, kind, s in ((0, "a", 1.0), (1, "a", 1.0), (0, "b", 4.0))]
    assert mean_goodput(samples) == pytest.approx(50)
    assert mean_goodput([]) is None


def test_acceptance_is_absent_where_nothing_was_drafted() -> None:
    """0 would be a verdict."""
    cell = Cell(0, "a", 1)
    assert acceptance([Sample(cell, 10, 1.0)]) is None
    assert acceptance([Sample(cell, 10, 1.0, 8, 6), Sample(cell, 10, 1.0, 2, 0)]) == 0.6
