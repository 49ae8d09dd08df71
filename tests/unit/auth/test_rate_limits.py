"""Limits of a key, on a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth.keys import ApiKey
from app.auth.rate_limits import RateLimits, Window
from app.errors import RateLimitedError

KEY = ApiKey("laptop", b"")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.5

    def __call__(self) -> float:
        return self.now


def refused(limits: RateLimits, key: ApiKey) -> tuple[str, int]:
    with pytest.raises(RateLimitedError) as caught:
        limits.reserve(key)
    assert caught.value.limit in str(caught.value) and "laptop" in str(caught.value)
    return caught.value.limit, caught.value.retry_after


def test_no_limits_no_meter() -> None:
    """Nor for a request without a key."""
    limits = RateLimits(Clock())
    assert limits.reserve(None) is None and limits.reserve(KEY) is None
    assert limits._traffic == {}


def test_requests_a_minute() -> None:
    """The next one may come when the first of the last minute is a minute old, and that is what is told."""
    clock, key = Clock(), replace(KEY, rpm=2)
    limits = RateLimits(clock)
    limits.reserve(key)
    clock.now += 20
    limits.reserve(key)
    limit, wait = refused(limits, key)
    assert (limit, wait) == ("rpm", 40)
    clock.now += wait
    assert limits.reserve(key) is not None
    assert refused(limits, key) == ("rpm", 20)


def test_tokens_a_minute() -> None:
    """They count when the answer ends; going over is paid with waiting."""
    clock, key = Clock(), replace(KEY, tpm=100)
    limits = RateLimits(clock)
    first, second = limits.reserve(key), limits.reserve(key)
    assert first is not None and second is not None
    first.leave(99)
    clock.now += 10
    second.leave(500)
    assert refused(limits, key) == ("tpm", 60)
    clock.now += 60
    assert limits.reserve(key) is not None


def test_requests_at_once() -> None:
    """Whoever leaves makes room, whatever became of the request."""
    key = replace(KEY, concurrency=2)
    limits = RateLimits(Clock())
    first = limits.reserve(key)
    limits.reserve(key)
    assert first is not None and refused(limits, key) == ("concurrency", 1)
    first.leave(0)
    assert limits.reserve(key) is not None


@pytest.mark.parametrize(("concurrency", "words"), [(1, "1 request at once"), (2, "2 requests at once")])
def test_a_limit_is_told_in_numbers_that_fit(concurrency: int, words: str) -> None:
    """One is not many."""
    key, limits = replace(KEY, concurrency=concurrency), RateLimits(Clock())
    for _ in range(concurrency):
        limits.reserve(key)
    with pytest.raises(RateLimitedError, match=f"Rate limit exceeded for key '.*': {words} "):
        limits.reserve(key)


def test_a_refused_request_counts_for_nothing() -> None:
    """Who retries in a loop is not shut out for ever."""
    clock, key = Clock(), replace(KEY, rpm=1)
    limits = RateLimits(clock)
    limits.reserve(key)
    for _ in range(60):
        clock.now += 0.9
        refused(limits, key)
    clock.now += 6
    assert limits.reserve(key) is not None


def test_keys_do_not_share_limits() -> None:
    """And a key that is read anew from the database keeps its meter."""
    limits = RateLimits(Clock())
    limits.reserve(replace(KEY, rpm=1))
    limits.reserve(ApiKey("other", b"", rpm=1))
    assert refused(limits, ApiKey("laptop", b"", rpm=1))[0] == "rpm"
    assert limits.reserve(replace(KEY, rpm=2)) is not None


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 1000)), max_size=50), st.integers(1, 3000))
def test_waiting_as_told_is_enough(steps: list[tuple[float, int]], limit: int) -> None:
    """Never longer than a minute, never in vain, and memory for a minute's seconds only."""
    window, now = Window(), 0.0
    for step, amount in steps:
        now += step
        window.forget(now)
        window.add(now, amount)
        wait = window.room_in(now, limit)
        assert 0 <= wait <= 60 and len(window._seconds) <= 61
        assert (wait == 0) == (window.total < limit)
    wait = window.room_in(now, limit)
    assert window.room_in(now + wait, limit) == 0
