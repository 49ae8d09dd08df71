"""What `auto` chooses: tuned, measured, tried or by rule, and never a loss that it could know of."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger import Measurement
from app.modes import PLAIN, Chain, Step, named
from app.speculation.choice import (
    EXPLORING_STARTS,
    STARTS_PER_ARM,
    Choice,
    choose,
    crossing,
    gain,
    rate,
)

DRAFT, NGRAM = (Step("draft-simple"),), (Step("ngram-mod"),)
ARMS: list[Chain] = [PLAIN, DRAFT, NGRAM]
RULE = Choice(DRAFT, "By rule.")
DONE = dict.fromkeys(("none", "draft-simple", "ngram-mod"), STARTS_PER_ARM)


def measured(mode: str, tpot: float, count: int = 20, *, in_flight: int = 1, noise: float = 0.02) -> list[Measurement]:
    dice = random.Random(f"{mode} {tpot}")
    return [
        Measurement(
            "m", "k", mode, 0.0, in_flight, None, tpot * dice.uniform(1 - noise, 1 + noise), 1.0, 100, None, None
        )
        for _ in range(count)
    ]


def test_the_rule_begins() -> None:
    """Nothing measured, nothing started."""
    assert choose(ARMS, RULE, measured={}, starts={}) == RULE


def test_a_tuned_result_ends_all_doubt() -> None:
    """Its options come with it."""
    tuned = Choice((Step("draft-simple", {"n_max": 8}),), "Tuned.")
    assert choose(ARMS, RULE, measured={}, starts={}, tuned=tuned) == tuned


def test_every_arm_is_tried_and_then_no_more() -> None:
    """At cold starts only: twice each, the rule's first, then plain; ten at most however many arms there are."""
    starts: dict[str, int] = {}
    order = []
    for _ in range(STARTS_PER_ARM * len(ARMS)):
        chosen = named(choose(ARMS, RULE, measured={"none": []}, starts=starts).chain)
        order.append(chosen)
        starts[chosen] = starts.get(chosen, 0) + 1
    assert order[:3] == ["draft-simple", "none", "ngram-mod"]
    assert starts == DONE
    assert "being tried" not in choose(ARMS, RULE, measured={}, starts=starts).why
    spent = choose(ARMS, RULE, measured={}, starts={"none": EXPLORING_STARTS})
    assert "being tried" not in spent.why


@pytest.mark.parametrize(
    ("draft", "ngram", "chosen"),
    [(0.010, 0.019, DRAFT), (0.019, 0.010, NGRAM), (0.030, 0.025, PLAIN), (0.0198, 0.0201, PLAIN)],
)
def test_the_best_by_goodput_wins_if_it_pays(draft: float, ngram: float, chosen: Chain) -> None:
    """Plain takes 20 ms a token. One per cent is no reason to leave it."""
    found = {"none": measured("none", 0.02), "draft-simple": measured("draft-simple", draft)}
    choice = choose(ARMS, RULE, measured=found | {"ngram-mod": measured("ngram-mod", ngram)}, starts=DONE)
    assert choice.chain == chosen
    assert "plain decoding made 50." in choice.why or "plain decoding made 49." in choice.why
    assert choice.figures["none"]["requests"] == 20


def test_a_gain_within_the_noise_is_none() -> None:
    """Five requests that scatter by half prove nothing."""
    found = {
        "none": measured("none", 0.02, 5, noise=0.5),
        "draft-simple": measured("draft-simple", 0.018, 5, noise=0.5),
    }
    spent = DONE | {"none": EXPLORING_STARTS}
    assert choose(ARMS, RULE, measured=found, starts=spent).chain == PLAIN


def test_what_is_undecided_gets_the_starts_that_are_left() -> None:
    """Five requests that scatter by half leave a tenth open; a certain loser is not tried again, and ten is the end."""
    found = {
        "none": measured("none", 0.02, 5, noise=0.5),
        "ngram-mod": measured("ngram-mod", 0.018, 5, noise=0.5),
        "draft-simple": measured("draft-simple", 0.2, 5),
    }
    starts = dict(DONE)
    while "being tried" in (choice := choose(ARMS, RULE, measured=found, starts=starts)).why:
        starts[named(choice.chain)] += 1
    assert starts == {"none": 4, "ngram-mod": 4, "draft-simple": 2}
    decided = found | {"ngram-mod": measured("ngram-mod", 0.01, 20), "none": measured("none", 0.02, 20)}
    assert named(choose(ARMS, RULE, measured=decided, starts=DONE).chain) == "ngram-mod"


def test_without_figures_for_plain_the_rule_stays() -> None:
    """There is nothing to compare with."""
    choice = choose(ARMS, RULE, measured={"draft-simple": measured("draft-simple", 0.01)}, starts=DONE)
    assert choice.chain == DRAFT and "not measured plain" in choice.why


def test_long_answers_count_more() -> None:
    """Goodput is tokens over seconds, not a mean of means."""
    short = [Measurement("m", "k", "none", 0.0, 1, None, 0.1, 1.0, 2, None, None)] * 3
    long = [Measurement("m", "k", "none", 0.0, 1, None, 0.01, 1.0, 1001, None, None)] * 3
    found = rate([*short, *long])
    assert found is not None and found.seconds_per_token == pytest.approx((3 * 0.1 + 3 * 10) / 3003)
    assert rate(short[:2]) is None


def test_an_interval_covers_a_known_gain() -> None:
    """Twice as fast, with five per cent of noise: near two in nearly every sample."""
    hits = 0
    for seed in range(200):
        dice = random.Random(seed)
        rows = [
            [Measurement("m", "k", mode, 0, 1, None, dice.gauss(tpot, tpot / 20), 1, 80, None, None) for _ in range(30)]
            for mode, tpot in (("d", 0.01), ("p", 0.02))
        ]
        drafted, plain = rate(rows[0]), rate(rows[1])
        assert drafted and plain
        found = gain(drafted, plain)
        hits += found.low <= 1.0 <= found.high
    assert hits >= 180


def test_the_crossing_is_where_plain_wins() -> None:
    """Drafted alone, plain in company: by what was measured at each number in flight."""
    drafted = measured("d", 0.010) + measured("d", 0.019, in_flight=2) + measured("d", 0.05, in_flight=5)
    plain = measured("p", 0.020) + measured("p", 0.022, in_flight=3) + measured("p", 0.03, in_flight=4)
    assert crossing(drafted, plain) == 4
    assert crossing(drafted[:40], plain[:40]) is None


@given(
    st.dictionaries(st.sampled_from(["none", "draft-simple", "ngram-mod"]), st.integers(0, 12)),
    st.dictionaries(
        st.sampled_from(["none", "draft-simple", "ngram-mod", "gone"]),
        st.lists(st.floats(1e-4, 10), max_size=6).map(
            lambda tpots: [Measurement("m", "k", "x", 0, 1, None, tpot, 1, 50, None, None) for tpot in tpots]
        ),
    ),
)
def test_a_choice_is_always_one_of_the_arms(starts: dict[str, int], found: dict[str, list[Measurement]]) -> None:
    """Whatever the ledger holds, and with words."""
    choice = choose(ARMS, RULE, measured=found, starts=starts)
    assert choice.chain in ARMS and choice.why
