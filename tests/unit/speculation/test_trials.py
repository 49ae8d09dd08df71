"""Trials of modes: compared at the same level, with intervals that are made of the spread between cold starts."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.records.ledger import ColdStart, Measurement
from app.speculation.trials import Trials
from tests.support.trials import SPACING_S, history, requests


def test_a_gain_is_a_mean_over_pairs_of_neighbours() -> None:
    """Twice and eight times as much are four times; only the spread between pairs tells what that is worth."""
    trials = history([("none", 50), ("d", 100), ("none", 200), ("d", 1600)])
    gain = trials.gain("d", "none")
    assert gain is not None and gain.mean == pytest.approx(3.0)
    # By hand: pairs of 1,024 tokens weigh 0.8, one degree of freedom, whose t of 95 % is 6.314.
    variance = 2 * 0.8 * math.log(2) ** 2 / 1
    reach = 6.314 * math.sqrt(variance / (2 * 0.8))
    assert math.log1p(gain.low) == pytest.approx(math.log(4) - reach, abs=1e-3)
    assert math.log1p(gain.high) == pytest.approx(math.log(4) + reach, abs=1e-3)
    assert str(gain) == f"+300.0% (90 % interval {gain.low:+.1%} to {gain.high:+.1%})"
    other_way = trials.gain("none", "d")
    assert other_way is not None and math.log1p(other_way.mean) == pytest.approx(-math.log(4))


def test_a_drift_cancels_out() -> None:
    """A machine that loses a tenth from start to start, and modes in either order: no loss, no doubt."""
    modes = ["none", "d", "d", "none"] * 3
    trials = history([(mode, (60 if mode == "d" else 50) * 0.9**number) for number, mode in enumerate(modes)])
    gain = trials.gain("d", "none")
    assert gain is not None and gain.mean == pytest.approx(0.2, abs=0.001) and gain.low > 0.05


def test_far_from_each_other_nothing_is_compared() -> None:
    """Between them the machine may have become another; each is paired once, with whom it stands next to."""
    gap: list[tuple[str, float | None]] = [("e", None)] * 4
    assert history([("none", 50.0), *gap, ("d", 60.0)]).gain("d", "none") is None
    gain = history([("none", 1.0), ("none", 50.0), *gap[:3], ("d", 60.0), ("d", 1.0)]).gain("d", "none")
    assert gain is not None and gain.mean == pytest.approx(0.2)


def test_a_thousand_requests_of_one_minute_are_one_trial() -> None:
    """They tell what the machine did in that minute: without another trial there is no interval."""
    rows = requests("none", 1, 50, count=1000) + requests("d", 2, 60, count=1000)
    gain = Trials([ColdStart(SPACING_S, "none"), ColdStart(2 * SPACING_S, "d")], rows).gain("d", "none")
    assert gain is not None and gain.mean == pytest.approx(0.2)
    assert (gain.low, gain.high) == (-1.0, math.inf)
    assert gain.fields() == {"mean": 0.2, "low": None, "high": None}
    assert str(gain) == "+20.0% (too few cold starts for an interval)"


def test_modes_are_compared_at_the_same_level() -> None:
    """Plain was in company and the draft alone: the faster engine is not the one with more requests."""
    crowded = requests("none", 1, 20, count=8, at_once=4)
    alone = [("none", None), ("none", 50.0), ("d", 60.0), ("none", 50.0), ("d", 60.0)]
    trials = history(alone, *crowded)
    assert set(trials.goodput("none")) == {1, 4} and trials.goodput("none")[4] == pytest.approx(80)
    gain = trials.gain("d", "none")
    assert gain is not None and gain.mean == pytest.approx(0.2)
    starts = [ColdStart(SPACING_S, "none"), ColdStart(2 * SPACING_S, "d")]
    assert Trials(starts, [*crowded, *requests("d", 2, 60)]).gain("d", "none") is None


def test_levels_weigh_as_much_as_was_asked_of_them() -> None:
    """A gain alone and a loss in company, by the tokens that both modes have at each."""
    alone, crowd = {"count": 3}, {"count": 4, "at_once": 4}
    rows = requests("none", 1, 50, **alone) + requests("d", 2, 100, **alone)
    rows += [replace(row, at=row.at + 500) for row in requests("none", 1, 50, **crowd) + requests("d", 2, 25, **crowd)]
    starts = [ColdStart(SPACING_S, "none"), ColdStart(2 * SPACING_S, "d")]
    gain = Trials(starts, rows).gain("d", "none")
    assert gain is not None and math.log1p(gain.mean) == pytest.approx(math.log(2) * (3 - 4) / 7)


def test_requests_belong_to_the_cold_start_before_them() -> None:
    """Pinned variants beside it are trials of their own modes; what came before all starts is one, too."""
    rows = requests("none", 0, 50) + requests("none", 1, 50) + requests("d", 1, 60)
    trials = history([("d", None), ("d", None), ("none", 50.0)], *rows)
    assert (trials.started("d"), trials.served("d"), trials.served()) == (2, 1, 2)
    assert (trials.requests("none"), trials.requests("d"), trials.modes) == (12, 4, ["d", "none"])
    assert (trials.since("none"), trials.since("d"), trials.since("gone")) == (0, 1, 3)
    assert Trials().since("d") == 0 and Trials().modes == []


def test_an_overlap_is_no_load() -> None:
    """Two requests that meet for a moment say nothing of a level of two, and are no trial of it."""
    first, second = requests("none", 1, 50, count=1), requests("none", 1, 50, count=2)[1:]
    late = replace(second[0], at=second[0].at - 0.1)
    assert set(Trials([], [*first, late]).goodput("none")) == {1}


def test_short_pairs_weigh_less() -> None:
    """One answer of 17 tokens against four of 257."""
    short = requests("d", 2, 500, count=1, tokens=17)
    gain = history([("none", 50.0), ("d", None), ("none", 50.0), ("d", 50.0)], *short).gain("d", "none")
    assert gain is not None and math.log1p(gain.mean) == pytest.approx(math.log(10) * (1 / 17) / (1 / 17 + 0.8))


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_an_interval_covers_the_truth_as_often_as_it_says(drift: float) -> None:
    """Nine times in ten and a little more, over trials of a machine that changes from one to the next."""
    hits = 0
    for seed in range(200):
        dice, machine, starts = random.Random(seed), 0.0, []
        for number in range(8):
            machine += dice.gauss(0, drift)
            mode, true_gain = ("d", 0.2) if number % 2 else ("none", 0.0)
            starts.append((mode, 50 * (1 + true_gain) * math.exp(machine + dice.gauss(0, 0.1))))
        gain = history(starts).gain("d", "none")
        assert gain is not None
        hits += gain.low <= 0.2 <= gain.high
    assert hits >= 172


rows = st.builds(
    lambda mode, at, in_flight, tpot, seconds, tokens: Measurement(
        "m", "k", mode, at, in_flight, None, tpot, seconds, tokens, None, None
    ),
    st.sampled_from(["none", "d", "gone"]),
    st.floats(0, 100),
    st.integers(1, 9),
    st.none() | st.floats(1e-4, 10),
    st.floats(0, 50),
    st.integers(2, 5000),
)


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["none", "d"])), max_size=6), st.lists(rows, max_size=12))
def test_an_interval_holds_its_mean(starts: list[tuple[float, str]], measured: list[Measurement]) -> None:
    """Whatever the ledger holds: numbers, in order, and no more than a whole loss."""
    trials = Trials([ColdStart(*start) for start in sorted(starts)], measured)
    for mode in trials.modes:
        gain = trials.gain(mode, "none")
        assert gain is None or -1 <= gain.low <= gain.mean <= gain.high
