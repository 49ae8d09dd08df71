"""Figures by mode from measurements: what is absent, what is weighed how, and goodput where requests overlap."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.records.ledger import Measurement
from app.speculation.aggregate import LEVELS, figures_of, goodput, level_of, percentile, ratio, stats_of

NOW = 1_790_000_000.0


def row(
    *,
    end: float = 10.0,
    seconds: float = 5.0,
    ttft: float | None = 1.0,
    tokens: int = 41,
    mode: str = "none",
    key: str = "k",
    drafts: tuple[int, int] | None = None,
) -> Measurement:
    """In flight from `end - seconds`; by default it decodes 40 tokens in its last 4 seconds."""
    tpot = None if ttft is None else (seconds - ttft) / (tokens - 1)
    drafted, accepted = drafts or (None, None)
    return Measurement("m", key, mode, NOW + end, 1, ttft, tpot, seconds, tokens, drafted, accepted)


requests = st.builds(
    row,
    end=st.floats(0, 100),
    seconds=st.floats(1, 50),
    ttft=st.none() | st.floats(0, 0.9),
    tokens=st.integers(2, 5000),
)


def test_one_request_delivers_at_its_own_pace() -> None:
    """Its goodput is the inverse of its time per token."""
    assert goodput([row()]) == {1: pytest.approx(10.0)}


def test_uneven_requests_add_up_while_both_decode() -> None:
    """A slow one of 10 s and a quick one in its midst: 1 token a second alone, 1 + 50 together."""
    slow = row(end=10, seconds=10, ttft=0.0, tokens=11)
    quick = row(end=6, seconds=2, ttft=0.0, tokens=101)
    assert goodput([slow, quick]) == {1: pytest.approx(1.0), 2: pytest.approx(51.0)}


def test_who_waits_is_in_flight() -> None:
    """One slot and four clients: one at a time decodes, under a load of four, and that is what they get."""
    turns = [row(end=n * 4.0, seconds=n * 4.0, ttft=(n - 1) * 4.0, tokens=41) for n in (1, 2, 3, 4)]
    assert goodput(turns) == {level: pytest.approx(10.0) for level in LEVELS}


def test_time_in_which_nobody_decodes_does_not_count() -> None:
    """A cold start that four wait for says nothing of decoding."""
    together = [row(end=104, seconds=104, ttft=100.0, tokens=41) for _ in range(4)]
    assert goodput(together) == {4: pytest.approx(40.0)}


def test_three_are_of_the_level_of_two() -> None:
    """Levels reach up to the next one."""
    assert [level_of(n) for n in (0, 1, 2, 3, 4, 5, 99)] == [1, 1, 2, 2, 4, 4, 4]
    assert goodput([row()] * 3) == {2: pytest.approx(30.0)}


@pytest.mark.parametrize("unknown", [row(ttft=None), row(seconds=1.0, ttft=1.0), row(seconds=1.0, ttft=1.0 - 1e-9)])
def test_without_a_known_time_nothing_was_delivered_in_it(unknown: Measurement) -> None:
    """It is in flight all the same."""
    assert goodput([unknown]) == {}
    beside = dataclasses.replace(unknown, at=NOW + 10.0, seconds=5.0)
    assert goodput([row(), beside]) == {2: pytest.approx(10.0)}


@given(st.lists(requests, max_size=12), st.randoms(use_true_random=False))
def test_goodput_lies_between_nothing_and_all_paces_together(rows: list[Measurement], shuffle: random.Random) -> None:
    """In whatever order they stand; and a level is there only if somebody decoded in it."""
    by_level = goodput(rows)
    paces = [1 / r.tpot for r in rows if r.tpot]
    assert set(by_level) <= set(LEVELS) and bool(by_level) == bool(paces)
    for value in by_level.values():
        assert min(paces) * 0.999 <= value <= sum(paces) * 1.001
    shuffle.shuffle(rows)
    assert goodput(rows) == pytest.approx(by_level)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    """And no smaller one is."""
    values.sort()
    bound = percentile(values, share)
    assert bound in values
    assert bound is not None
    assert sum(value <= bound for value in values) >= share * len(values) - 1e-9
    assert sum(value < bound for value in values) < share * len(values) + 1e-9
    assert percentile([], share) is None


def test_acceptance_is_of_all_tokens_and_absent_without_drafts() -> None:
    """A short answer's rate weighs less than a long one's; 0 is for drafts of which none was accepted."""
    mixed = [row(drafts=(90, 90)), row(drafts=(10, 0)), row()]
    assert figures_of("draft-simple", mixed).acceptance == 0.9
    assert figures_of("draft-simple", [row(drafts=(8, 0))]).acceptance == 0.0
    assert figures_of("none", [row()]).acceptance is None


def test_what_was_not_measured_is_absent() -> None:
    """An upstream in Anthropic's dialect, not streamed: tokens and no times."""
    figures = figures_of("none", [row(ttft=None)])
    assert (figures.requests, figures.tokens, figures.tpot_p50, figures.tpot_p95, figures.goodput) == (
        1,
        41,
        None,
        None,
        {},
    )


def test_modes_of_one_setup_stand_together_plain_first() -> None:
    """What was measured on other files, another build or other hardware is counted and not mixed in."""
    rows = [row(mode="ngram-mod"), row(), row(mode="draft-simple"), row(key="old"), row(key="older", mode="draft-mtp")]
    stats = stats_of("m", rows, "k")
    assert [figures.mode for figures in stats.modes] == ["none", "draft-simple", "ngram-mod"]
    assert (stats.alias, stats.older) == ("m", 2)
    assert stats.plain is stats.modes[0]
    assert stats_of("m", [row(mode="ngram-mod")], "k").plain is None


@pytest.mark.parametrize(
    ("value", "plain", "expected"), [(1.0, 2.0, 0.5), (None, 2.0, None), (1.0, None, None), (1.0, 0.0, None)]
)
def test_a_ratio_needs_both(value: float | None, plain: float | None, expected: float | None) -> None:
    """And something to divide by."""
    assert ratio(value, plain) == expected
