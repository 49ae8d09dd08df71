"""How long an upstream may ask our clients to wait."""

import time
from email.utils import formatdate

import pytest

from app.relay.headers import patient


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        *((b"0", b"0"), (b"30", b"30"), (b"0.4", b"1"), (b"120", b"120")),
        *((b"121", b"120"), (b"1e9", b"120"), (b"9" * 5000, b"120"), (b"inf", b"120")),
        *((b"-5", b"0"), (b"nan", b"120"), (b"soon", b"120"), (b"", b"120"), (b"\xff", b"120")),
    ],
)
def test_nobody_waits_longer_than_clients_do(value: bytes, wait: bytes) -> None:
    """Two minutes are the most; what says nothing counts as for ever."""
    assert patient(b"retry-after", value) == wait


@pytest.mark.parametrize(("ahead", "least", "most"), [(60, 50, 60), (3600, 120, 120), (-60, 0, 0)])
def test_a_date_is_a_time_from_now(ahead: int, least: int, most: int) -> None:
    """As servers may write it."""
    wait = patient(b"retry-after", formatdate(time.time() + ahead, usegmt=True).encode())
    assert least <= int(wait) <= most


def test_milliseconds_are_bounded_alike() -> None:
    """And any other header is as it is."""
    assert patient(b"retry-after-ms", b"1500") == b"1500"
    assert patient(b"retry-after-ms", b"999999") == b"120000"
    assert patient(b"x-ratelimit-reset", b"999999") == b"999999"
