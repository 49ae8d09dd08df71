"""How far a pull is, from its events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.download.events import DownloadEvent, Kind
from app.pulls.progress import PullProgress, PullSnapshot

GB = 10**9


def after(*events: tuple[float, Kind, str, int]) -> PullSnapshot:
    """The snapshot after a plan of 10 GB, a file of 4 GB being here, and these events: when, kind, path, bytes."""
    progress = PullProgress()
    progress.take(DownloadEvent("plan", "", 4 * GB, 10 * GB), 0.0)
    for path, here in (("old", 4 * GB), ("a", 0), ("b", 0)):
        progress.take(DownloadEvent("file", path, here, 4 * GB), 0.0)
    for at, kind, path, received in events:
        progress.take(DownloadEvent(kind, path, received, 5 * GB), at)
    return progress.now


def test_nothing_is_known_before_the_plan() -> None:
    """And nothing is made up: no percent, no rate, no time left."""
    now = PullProgress().now
    assert (now.phase, now.size, now.percent, now.rate, now.seconds_left) == ("asking", None, None, None, None)
    assert now.words("m") == "asking the Hub for m"


def test_files_add_to_what_was_here() -> None:
    now = after((0, "start", "a", 0), (1, "progress", "a", 2 * GB), (1, "done", "a", 2 * GB), (2, "start", "b", 0))
    assert (now.received, now.percent) == (6 * GB, 60.0)


def test_what_somebody_else_has_brought_since_the_plan_is_here() -> None:
    """The first that is told of a file may be that it is done, or a good way on."""
    assert after((0, "done", "a", 2 * GB)).received == 6 * GB
    assert after((0, "waiting", "a", 1 * GB), (1, "start", "b", 1 * GB)).received == 6 * GB


def test_a_file_that_is_here_already_moves_nothing() -> None:
    now = after((0, "checking", "old", 1 * GB), (1, "done", "old", 4 * GB))
    assert now.received == 4 * GB


def test_a_file_that_begins_anew_goes_back() -> None:
    """Wrong bytes: the truth is that less is here than before."""
    now = after((0, "start", "a", 0), (1, "progress", "a", 3 * GB), (2, "start", "a", 0))
    assert now.received == 4 * GB


def test_what_another_process_pulls_counts_as_well() -> None:
    """Its rate too, as seen from here."""
    now = after((0, "waiting", "a", 0), (10, "waiting", "a", 2 * GB))
    assert (now.phase, now.received, now.rate) == ("waiting", 6 * GB, 0.2 * GB)
    assert now.words("m") == "another process downloads m: 60.0 % of 10.00 GB, 200.0 MB/s, 20 s left"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """An hour of a slow line does not count against the minute of a quick one."""
    slow: list[tuple[float, Kind, str, int]] = [(at, "progress", "a", at * 1000) for at in range(3600)]
    fast: list[tuple[float, Kind, str, int]] = [
        (3600 + at, "progress", "a", 3_600_000 + at * 1_000_000) for at in range(40)
    ]
    assert after(*slow).rate == pytest.approx(1000)
    assert after(*slow, *fast).rate == pytest.approx(1_000_000)


def test_there_is_no_rate_before_a_second_has_passed() -> None:
    assert after((0, "start", "a", 0), (0.9, "progress", "a", GB)).rate is None
    assert after((0, "start", "a", 0), (1.0, "progress", "a", GB)).rate == GB


def test_a_standstill_has_no_time_left() -> None:
    now = after((0, "start", "a", 0), (30, "progress", "a", 0))
    assert (now.rate, now.seconds_left) == (0.0, None)
    assert now.words("m") == "downloading m: 40.0 % of 10.00 GB, 0.0 MB/s"


@pytest.mark.parametrize(("rate", "left"), [(GB, "6 s"), (2e7, "5 min"), (1e6, "1 h 40 min"), (1e5, "16 h 40 min")])
def test_time_left_is_told_as_people_do(rate: float, left: str) -> None:
    assert PullSnapshot("downloading", 4 * GB, 10 * GB, rate).words("m").endswith(f", {left} left")


def test_a_hundred_percent_is_said_of_everything_only() -> None:
    assert PullSnapshot("downloading", 10 * GB - 1, 10 * GB).percent == 99.9
    assert PullSnapshot("downloading", 10 * GB, 10 * GB).percent == 100.0
    assert PullSnapshot("downloading", 0, 0).percent == 100.0


KINDS: list[Kind] = ["file", "start", "progress", "waiting", "checking", "done", "note", "plan"]


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("ab"), st.integers(0, 10**12), st.integers(0, 10**12)))
)
def test_whatever_is_told_can_be_shown(events: list[tuple[Kind, str, int, int]]) -> None:
    """Events come from files on disk and from a Hub: any order and any number of them has words and fields."""
    progress = PullProgress()
    for at, (kind, path, received, size) in enumerate(events):
        progress.take(DownloadEvent(kind, path, received, size), float(at))
        fields = progress.now.fields()
        assert progress.now.words("m") and (fields["rate"] is None or fields["rate"] >= 0)
        assert fields["percent"] is None or 0 <= fields["percent"] <= 100


def test_the_last_notes_are_kept() -> None:
    """Beside everything else, which they do not change."""
    progress = PullProgress()
    progress.take(DownloadEvent("plan", "", 1, 4), 0.0)
    for number in range(30):
        progress.take(DownloadEvent("note", "", text=f"busy {number}"), number)
    assert progress.now.notes == tuple(f"busy {number}" for number in range(10, 30))
    assert (progress.now.received, progress.now.size) == (1, 4)
