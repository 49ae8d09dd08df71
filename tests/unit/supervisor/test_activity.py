"""What tells a slow start from one that hangs."""

import os

import pytest

from app.supervisor.activity import Activity, activity_of
from app.supervisor.readiness import StartLimits

MIB = 1 << 20


@pytest.mark.parametrize(
    ("later", "moved"),
    [
        (Activity(read=10 * MIB), True),
        (Activity(resident=10 * MIB), True),
        (Activity(cpu=2.0), True),
        (Activity(), False),
        # The health probe's own cost: 3 % of a core, and small reads
        (Activity(read=4096, resident=8192, cpu=0.06), False),
    ],
)
def test_reading_filling_and_computing_are_progress(later: Activity, moved: bool) -> None:
    """Within two seconds."""
    assert later.moved_since(Activity(), 2.0) is moved


def test_a_process_is_measured_and_one_that_has_gone_is_nothing() -> None:
    assert activity_of(os.getpid()).resident > MIB and activity_of(os.getpid()).cpu > 0
    assert activity_of(2**22 + 1) == Activity()


@pytest.mark.parametrize(
    ("limits", "size", "seconds"),
    [
        (StartLimits(), 1 << 30, 1800),
        (StartLimits(), 135_000_000_000, 6750),
        (StartLimits(start=5), 135_000_000_000, 5),
    ],
)
def test_the_whole_limit_grows_with_the_files_unless_it_is_set(limits: StartLimits, size: int, seconds: float) -> None:
    assert limits.whole(size) == seconds
