"""Waiting: longer each time, never all at once, and never less than the server asks for."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.download.backoff import delay, retry_after


def test_waits_double_up_to_half_a_minute() -> None:
    assert [delay(attempt, None, lambda: 1.0) for attempt in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert [delay(attempt, None, lambda: 0.0) for attempt in (1, 2)] == [0.5, 1]


@given(st.integers(1, 50), st.floats(0, 3600), st.floats(0, 1, exclude_max=True))
def test_a_server_is_never_asked_sooner_than_it_wants(attempt: int, wish: float, random: float) -> None:
    assert wish <= delay(attempt, wish, lambda: random) <= wish + 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:20:00 GMT", 0.0),
        ("soon", None),
        ("-3", 0.0),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds
