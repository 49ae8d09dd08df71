"""How often an engine is used, from the moments of its requests."""

from __future__ import annotations

import pytest

from app.scheduler.demand import SPANS_S, UNUSED, Demand


def after(*moments: float) -> Demand:
    demand = UNUSED
    for moment in moments:
        demand = demand.asked(moment)
    return demand


def test_without_requests_no_use_is_expected() -> None:
    assert UNUSED.rate(0.0) == UNUSED.rate(1e9) == 0.0


@pytest.mark.parametrize("age", [0.0, 30.0, 3_600.0, 86_400.0])
def test_of_single_requests_the_later_counts_more(age: float) -> None:
    """At any distance."""
    assert after(100.0).rate(100.0 + age) > after(90.0).rate(100.0 + age) > 0


def test_a_request_weighs_about_the_inverse_of_its_age() -> None:
    """From half a second to a day, within a factor of about two."""
    weights = [after(0.0).rate(age) * age for age in (0.5, 5.0, 60.0, 300.0, 1_000.0, 5_000.0, 20_000.0, 80_000.0)]
    assert max(weights) < 2.2 * min(weights)


def test_regular_use_outlasts_a_single_later_request() -> None:
    """Not at once: a conversation that has just begun goes on."""
    regular, once = after(*range(0, 7_200, 300)), after(7_000.0)
    assert once.rate(7_010.0) > after(*range(0, 3_600, 900)).rate(7_010.0)
    assert regular.rate(7_500.0) > once.rate(7_500.0)


def test_requests_at_one_moment_count_as_one() -> None:
    """One load would serve all of them."""
    crowd = after(*(n / 1000 for n in range(100)))
    assert crowd.rate(10.0) == pytest.approx(after(0.0).rate(10.0), rel=0.03)
    assert after(0.0, 60.0).rate(200.0) > 1.3 * after(60.0).rate(200.0)


def test_steady_use_is_told_by_its_rate() -> None:
    """Over the longest span: a request every 50 s."""
    hours = after(*(50.0 * n for n in range(10 * int(SPANS_S[-1] / 50))))
    assert hours.counts[-1] / SPANS_S[-1] == pytest.approx(1 / 50, rel=0.02)
