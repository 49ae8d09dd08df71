"""Which arms go when the time is short, and what a person is told of it before it begins."""

from __future__ import annotations

import pytest

from app.config.speculation import PLAIN, Chain, Step
from app.tuning.arms import PLAIN_ARM, Arm, label
from app.tuning.plan import RunPlan, in_minutes, plan_run


def arm(mode: str, **options: int) -> Arm:
    chain = (Step(mode, options),)
    return Arm(label(chain), chain)


DRAFTS = [arm("draft-simple", n_max=length) for length in (2, 4, 8, 16)]
NGRAMS = [arm(f"ngram-{mode}") for mode in ("simple", "mod", "map-k")]
ALL = [PLAIN_ARM, *DRAFTS, *NGRAMS]


def plan(left: float, own: Chain = PLAIN, arms: list[Arm] = ALL) -> RunPlan:
    """A start of 20 s and ten answers of 24 tokens at 24 tokens a second: 35 s an arm and round, 105 s for three."""
    return plan_run(arms, own, start=20, tokens_per_second=24, requests_per_round=10, left=left)


def names(arms: tuple[Arm, ...]) -> list[str]:
    return [each.name for each in arms]


def test_with_time_for_all_all_go() -> None:
    made = plan(900)
    assert made.arms == tuple(ALL) and made.left_out == () and made.seconds == 840
    assert made.words == "8 modes need about 14 minutes here, of 15 minutes."


def test_the_least_promising_stay_behind() -> None:
    """In the order of the arms, plain decoding first."""
    made = plan(330)
    assert names(made.arms) == ["none", "draft-simple n_max 4", "ngram-mod"]
    assert names(made.left_out)[0] == "draft-simple n_max 8"
    assert made.words == (
        "8 modes need about 14 minutes here; 6 minutes are enough for none, draft-simple n_max 4 and ngram-mod."
    )


def test_what_the_entry_has_today_goes_first() -> None:
    assert names(plan(330, own=DRAFTS[3].chain).arms) == ["none", "draft-simple n_max 4", "draft-simple n_max 16"]


@pytest.mark.parametrize("left", [1.0, 100.0, 209.0])
def test_two_go_at_any_rate_and_are_told_what_they_need(left: float) -> None:
    made = plan(left)
    assert names(made.arms) == ["none", "draft-simple n_max 4"]
    assert made.words.startswith("none and draft-simple n_max 4 need about 4 minutes here for a recommendation")
    assert "--minutes" in made.words


def test_arms_that_were_asked_for_by_name_are_ranked_too() -> None:
    """One that nobody knows comes last, and none is lost."""
    arms = [PLAIN_ARM, arm("ngram-cache"), NGRAMS[1]]
    made = plan(215, arms=arms)
    assert names(made.arms) == ["none", "ngram-mod"] and names(made.left_out) == ["ngram-cache"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (54, "54 s"), (58, "1 minute"), (100, "2 minutes"), (840, "14 minutes")]
)
def test_times_are_round(seconds: float, words: str) -> None:
    assert in_minutes(seconds) == words
