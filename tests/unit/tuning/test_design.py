"""What is asked when, and who goes on."""

from collections import Counter

import pytest

from app.tuning.design import (
    LEVELS,
    Estimate,
    answer_tokens,
    beaten,
    cells,
    order,
    prompt_numbers,
    requests,
    too_slow,
    worse_half,
)

KINDS = ("code edit", "chat", "summary", "repeat")


def test_three_rounds_show_every_kind_at_every_level() -> None:
    """Each round shows every kind once."""
    rounds = [cells(number, KINDS) for number in range(3)]
    assert all([cell.kind for cell in plan] == list(KINDS) for plan in rounds)
    seen = Counter((cell.kind, cell.in_flight) for plan in rounds for cell in plan)
    assert seen == {(kind, level): 1 for kind in KINDS for level in LEVELS}


def test_a_single_kind_is_shown_at_every_level_in_each_round() -> None:
    """One block would be too little for a round."""
    plan = cells(0, ["own"])
    assert [cell.in_flight for cell in plan] == list(LEVELS) and requests(plan) == 7


def test_every_arm_gets_every_place_and_a_drift_cancels() -> None:
    """Over two turns for each arm, all have had the same mean place."""
    arms = ["a", "b", "c"]
    places = {arm: sorted(order(arms, turn).index(arm) for turn in range(6)) for arm in arms}
    assert set(map(tuple, places.values())) == {(0, 0, 1, 1, 2, 2)}
    assert order([], 3) == [] and order(arms, 0) == arms


def test_a_round_repeats_no_prompt() -> None:
    """As long as there are as many as it sends."""
    for number in range(4):
        sent: list[int] = []
        for cell in cells(number, ["own"]):
            sent += prompt_numbers(cell, 8, before=len(sent))
        assert len(set(sent)) == len(sent) == 7
    assert prompt_numbers(cells(0, ["own"])[2], 2) == [0, 1, 0, 1]


@pytest.mark.parametrize(("speed", "seconds", "tokens"), [(100, 600, 128), (16, 600, 30), (0.1, 600, 24), (100, 3, 24)])
def test_slow_machines_get_shorter_answers(speed: float, seconds: float, tokens: int) -> None:
    """Forty requests a round, four rounds."""
    assert answer_tokens(speed, seconds, 40) == tokens


def test_who_lies_wholly_below_the_best_is_out() -> None:
    """Plain decoding is in the race with 0; who overlaps with the best, or has no interval yet, stays."""
    estimates = {
        "best": Estimate(0.3, 0.2, 0.4),
        "near": Estimate(0.15, 0.05, 0.25),
        "below": Estimate(0.1, 0.02, 0.19),
        "worst": Estimate(-0.2, -0.3, -0.1),
        "new": Estimate(-0.5),
    }
    assert beaten(estimates) == ["worst", "below"]
    assert beaten({"harmful": Estimate(-0.1, -0.15, -0.01), "unclear": Estimate(-0.1, -0.3, 0.1)}) == ["harmful"]
    assert beaten({}) == []


def test_halving_keeps_the_better_half_and_never_drops_the_last() -> None:
    """Of three one stays; of one, one."""
    estimates = {name: Estimate(gain) for name, gain in (("a", 0.1), ("b", 0.3), ("c", -0.1))}
    assert worse_half(estimates) == ["c", "a"]
    assert worse_half({"a": Estimate(-0.5)}) == worse_half({}) == []
    assert len(worse_half({str(n): Estimate(n) for n in range(8)})) == 4


def test_the_budget_demands_halving_only_while_rounds_are_missing() -> None:
    """Four rounds are wanted; once they are done, every further one is a gift."""
    assert too_slow(1, 100, 60)
    assert not too_slow(1, 200, 60)
    assert not too_slow(4, 10, 60)
