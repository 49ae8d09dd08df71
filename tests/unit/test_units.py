"""Durations and sizes in the ways that people write them."""

import pytest

from app.units import bytes_of, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("5m", 300),
        ("24h", 86400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5 h", 5400),
        ("500ms", 0.5),
        ("2d12h", 216000),
        ("5M", 300),
        ("10min", 600),
        ("30 sec", 30),
        (" 2 hours ", 7200),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """A bare number is seconds; units go from the longest to the shortest."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "five", "5x", "5m5", "30m1h", "1m1m", "-5m", "5m,", "1h-30m", "5 parsecs"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1024", 1024),
        ("8GiB", 8 << 30),
        ("8 gib", 8 << 30),
        ("1.5MiB", 3 << 19),
        ("64KiB", 65536),
        ("2TiB", 2 << 40),
        ("500MB", 500_000_000),
        ("1kB", 1000),
        ("10B", 10),
    ],
)
def test_sizes(text: str, count: int) -> None:
    """`GiB` counts in 1024s, `GB` in 1000s."""
    assert bytes_of(text) == count


def test_a_bare_size_is_in_its_settings_unit() -> None:
    assert bytes_of("64", bare=2**20) == bytes_of("64MiB", bare=2**20) == 64 << 20


@pytest.mark.parametrize("text", ["", "GiB", "8G", "8 gigs", "-1MiB", "1MiB2", "1 MiB 2 KiB"])
def test_what_is_no_size(text: str) -> None:
    """`8G` may mean either."""
    with pytest.raises(ValueError):
        bytes_of(text)
