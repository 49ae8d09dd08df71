"""What is measured of a finished request."""

import pytest

from app.records.metrics import TTFT_BUCKETS, Finished, Histogram, Metrics


@pytest.mark.parametrize(
    ("ttft", "tokens", "tpot"),
    [(1.0, 5, 0.5), (1.0, 2, 2.0), (1.0, 1, None), (1.0, 0, None), (1.0, None, None), (None, 5, None)],
)
def test_time_per_token_is_of_the_tokens_after_the_first(
    ttft: float | None, tokens: int | None, tpot: float | None
) -> None:
    """(end-to-end - TTFT) / (tokens - 1); absent where there is no first token or no second."""
    assert Finished("a", 200, duration=3.0, ttft=ttft, completion_tokens=tokens).tpot == tpot


@pytest.mark.parametrize(
    ("drafted", "accepted", "share"), [(8, 6, 0.75), (8, 0, 0.0), (0, 0, None), (None, None, None), (8, None, None)]
)
def test_acceptance_is_absent_where_nothing_was_drafted(
    drafted: int | None, accepted: int | None, share: float | None
) -> None:
    """0 would say that a draft is useless where there is none."""
    assert Finished("a", 200, duration=1.0, drafted=drafted, accepted=accepted).acceptance == share


def test_a_histogram_counts_up_to_and_including_its_bounds() -> None:
    """As Prometheus reads `le`; what lies above all bounds is in +Inf, which counts everything."""
    histogram = Histogram((0.1, 1.0, 300.0))
    for value in (0.05, 0.1, 0.5, 1.0, 301.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("0.1", 2.0), ("1", 4.0), ("300", 4.0), ("+Inf", 5.0)]
    assert histogram.total == pytest.approx(302.65)


def test_an_answer_in_one_piece_is_timed_by_its_engine() -> None:
    """The engine's decoding is of the tokens after the first; what is left of the time came before it."""
    whole = Finished("a", 200, duration=3.0, completion_tokens=5, decode=2.0)
    assert (whole.tpot, whole.first_token) == (0.5, 1.0)
    seen = Finished("a", 200, duration=3.0, completion_tokens=5, decode=2.0, ttft=2.0)
    assert (seen.tpot, seen.first_token) == (0.25, 2.0)
    assert Finished("a", 200, duration=3.0, completion_tokens=1, decode=0.0).tpot is None
    assert Finished("a", 200, duration=3.0).first_token is None
    assert Finished("a", 200, duration=1.0, decode=1.5).first_token == 0.0  # two clocks


def test_totals_are_by_alias_and_what_speculation_bears_on_by_mode() -> None:
    """Requests by status as well; an answer that says nothing of tokens adds none, a server of others has no mode."""
    metrics = Metrics()
    tokens = {"prompt_tokens": 10, "completion_tokens": 4, "drafted": 6, "accepted": 3}
    metrics.finished(Finished("a", 200, 2.0, ttft=0.5, mode="draft-simple", **tokens))  # type: ignore[arg-type]
    metrics.finished(Finished("a", 200, 2.0, prompt_tokens=1, completion_tokens=1))
    metrics.finished(Finished("a", 503, 0.1))
    metrics.finished(Finished("b", 200, 1.0, drafted=2))
    assert metrics.requests == {("a", 200): 2, ("a", 503): 1, ("b", 200): 1}
    assert (metrics.tokens_in["a"], metrics.tokens_out["a"]) == (11, 5)
    assert (dict(metrics.drafted), dict(metrics.accepted)) == (
        {("a", "draft-simple"): 6, ("b", ""): 2},
        {("a", "draft-simple"): 3, ("b", ""): 0},
    )
    assert {mode: histogram.total for mode, histogram in metrics.ttft.items()} == {("a", "draft-simple"): 0.5}
    assert {mode: histogram.total for mode, histogram in metrics.tpot.items()} == {("a", "draft-simple"): 0.5}


def test_bounds_rise() -> None:
    """A bisection over them would otherwise count at random."""
    assert list(TTFT_BUCKETS) == sorted(set(TTFT_BUCKETS))
