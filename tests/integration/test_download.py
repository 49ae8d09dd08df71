"""One file, whatever happens on the way: the right bytes, and never twice what had arrived."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import app.models.download.ranges
import app.models.download.request_size
from app.errors import ChecksumMismatchError, DiskFullError, HubError, StoreError
from app.models.disk.layout import FileLocation
from app.models.download.events import DownloadEvent
from app.models.download.file import WORKERS, download
from app.models.download.http import HttpConnections
from app.models.download.journal import FileVersion
from app.models.download.partial import received_of
from app.models.download.ranges import FileAddress
from tests.support.fake_hub import FakeHub, Fault
from tests.support.fake_hub.repos import File
from tests.support.puller import Direct

BLOCK = 1 << 14
# Blocks a request, here always
RUN = app.models.download.request_size.SHORTEST
CONTENT = os.urandom(BLOCK * 48 + 1234)
PATH = "UD/m-Q4_K_M.gguf"


class Pull:
    """A repo of one file, and the download of it."""

    def __init__(self, hub: FakeHub, folder: Path, content: bytes = CONTENT) -> None:
        self.hub = hub
        self.file = File(content)
        self.repo = hub.add("org/m", {PATH: self.file})
        self.place = FileLocation(folder, "org/m", PATH)
        self.place.prepare()
        self.events: list[DownloadEvent] = []

    def identity(self, **changed: Any) -> FileVersion:
        found = {"revision": self.repo.head, "digest": f"sha256:{self.file.sha256}", "size": self.file.size}
        return FileVersion("org/m", PATH, **(found | changed))

    def run(self, identity: FileVersion | None = None, workers: int = 3) -> None:
        with HttpConnections() as wire:
            url = f"{self.hub.bytes_url}/org/m/{self.repo.head}/{PATH}"
            source = Direct(url)
            download(
                self.place,
                identity or self.identity(),
                source,
                wire,
                self.events.append,
                block=BLOCK,
                workers=workers,
            )

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if event.kind == "note"]

    def received(self) -> set[int]:
        found = received_of(self.place)
        return set(found.received) if found else set()


@pytest.fixture
def pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pull]:
    """The waits between tries are left out, save where a server asks for one."""
    monkeypatch.setattr(app.models.download.ranges, "delay", lambda attempt, wish, _: wish or 0.0)
    monkeypatch.setattr(app.models.download.request_size, "LONGEST", RUN)
    with FakeHub() as hub:
        yield Pull(hub, tmp_path)


def test_a_file_arrives_whole_and_is_recorded(pull: Pull) -> None:
    """Nothing half-way is left beside it, and progress ends at the file's size."""
    pull.run()
    assert pull.place.final.read_bytes() == CONTENT
    record = pull.place.record()
    assert record is not None and record.revision == pull.repo.head
    assert not pull.place.part.exists() and not pull.place.journal.exists()
    assert pull.hub.sent[PATH] == len(CONTENT)
    assert pull.events[0].kind == "start" and pull.events[-1].received == len(CONTENT)


def test_it_is_on_the_disk_before_it_has_its_name(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synced, renamed, and the folder synced: power loss leaves a whole file under its name, or none."""
    steps: list[str] = []
    real = {"fsync": os.fsync, "replace": os.replace}

    def noted(name: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            steps.append(name)
            return real[name](*args, **more)

        return call

    for name in real:
        monkeypatch.setattr(os, name, noted(name))
    pull.run()
    assert steps[:3] == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("which", ["part", "journal"])
def test_a_link_in_the_place_of_a_file_of_ours_is_not_followed(pull: Pull, tmp_path: Path, which: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    link: Path = getattr(pull.place, which)
    link.symlink_to(outside)
    with suppress(StoreError):
        pull.run()
    assert outside.read_bytes() == b"mine" and not pull.place.final.is_symlink()


def test_several_ranges_are_in_flight_at_once(pull: Pull) -> None:
    """A connection that gives nothing does not hold up the others: they bring all the rest."""
    assert WORKERS > 1
    pull.hub.order(PATH, Fault(rate=100))
    others = len(CONTENT) - RUN * BLOCK

    def all_the_rest_is_here(event: DownloadEvent) -> None:
        if event.received == others:
            pull.hub.cut_all()

    pull.events = type("Events", (), {"append": staticmethod(all_the_rest_is_here)})()  # type: ignore[assignment]
    pull.run()
    assert pull.place.final.read_bytes() == CONTENT


def test_what_arrives_in_order_is_not_read_from_the_disk_again(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash has it from memory, and holds up who is faster than itself."""
    read: list[int] = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *args: read.append(args[2]) or real(*args))
    pull.run(workers=1)
    assert pull.place.final.read_bytes() == CONTENT and not read


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    with FakeHub() as hub:
        pull = Pull(hub, tmp_path, b"")
        pull.run()
        assert pull.place.final.read_bytes() == b"" and not hub.fetched


@pytest.mark.parametrize("cut", [0, 1, BLOCK, BLOCK + 7])
def test_a_dropped_connection_is_gone_on_with_where_it_broke(pull: Pull, cut: int) -> None:
    """To the byte: within a run of this process nothing is read twice."""
    pull.hub.order(PATH, Fault(cut=cut), Fault(cut=cut))
    pull.run()
    assert pull.place.final.read_bytes() == CONTENT
    assert pull.hub.sent[PATH] == len(CONTENT)


@pytest.mark.parametrize("status", [429, 500, 503, 403])
def test_a_server_error_is_tried_again(pull: Pull, status: int) -> None:
    """403 among them: the signature of an address has run out, so the Hub is asked for a new one."""
    pull.hub.order(PATH, Fault(status=status), Fault(status=status))
    pull.run()
    assert pull.place.final.read_bytes() == CONTENT
    assert sum(f"the server answers {status}" in note for note in pull.notes) == 2


def test_retry_after_is_honoured(pull: Pull) -> None:
    pull.hub.order(PATH, Fault(status=429, retry_after="1"))
    began = time.monotonic()
    pull.run(workers=1)
    assert time.monotonic() - began >= 1
    assert pull.notes == [f"{PATH}: the server answers 429; trying again in 1.0 s"]


def test_who_wants_an_hour_of_rest_is_left_alone(pull: Pull) -> None:
    """A person should know rather than wait."""
    pull.hub.order(PATH, Fault(status=429, retry_after="3600", stays=True))
    with pytest.raises(HubError, match="asks to wait 3600 s"):
        pull.run()


def test_a_server_that_stays_broken_is_given_up_and_what_arrived_is_kept(pull: Pull) -> None:
    """The next pull asks for the rest only."""
    pull.hub.order(PATH, Fault(), Fault(status=500, stays=True))
    with pytest.raises(HubError, match="7 times in a row"):
        pull.run(workers=1)
    kept = pull.received()
    assert kept == set(range(RUN))
    pull.hub.faults.clear()
    pull.hub.sent.clear()
    pull.run()
    assert pull.place.final.read_bytes() == CONTENT
    assert pull.hub.sent[PATH] == len(CONTENT) - RUN * BLOCK


def test_a_wrong_byte_is_noticed_and_the_file_fetched_again(pull: Pull) -> None:
    pull.hub.order(PATH, Fault(flip=5))
    pull.run(workers=1)
    assert pull.place.final.read_bytes() == CONTENT
    assert any("starting again" in note for note in pull.notes)


def test_bytes_that_stay_wrong_are_never_put_in_place(pull: Pull) -> None:
    """Nor kept, since nothing tells which of them are wrong."""
    pull.hub.order(PATH, Fault(flip=5, stays=True))
    with pytest.raises(ChecksumMismatchError, match="twice"):
        pull.run()
    assert not pull.place.final.exists() and not pull.place.part.exists()


@pytest.mark.parametrize("lie", [-BLOCK, -1, 1, BLOCK * 144])
def test_a_size_that_is_a_lie_is_said(pull: Pull, lie: int) -> None:
    with pytest.raises(ChecksumMismatchError, match=f"announced {len(CONTENT) + lie} bytes, the server has"):
        pull.run(pull.identity(size=len(CONTENT) + lie))
    assert not pull.place.final.exists()


class _ByTheHub:
    """An address at the Hub itself, which sends every request on to the host of the bytes."""

    def __init__(self, hub: FakeHub, revision: str) -> None:
        self._url, self._home = f"{hub.url}/org/m/resolve/{revision}/{PATH}", hub.url

    def address(self, identity: FileVersion, rest: Callable[[float], None]) -> FileAddress:
        return FileAddress(self._url, self._home, (("Authorization", "Bearer hf_secret"),))


def test_a_redirect_to_another_host_carries_no_token(pull: Pull) -> None:
    """The Hub gets the token, the host of the bytes never; and the Hub is not asked again for every range."""
    with HttpConnections() as wire:
        source = _ByTheHub(pull.hub, pull.repo.head)
        download(pull.place, pull.identity(), source, wire, pull.events.append, block=BLOCK)
    assert pull.place.final.read_bytes() == CONTENT
    assert {asked.token for asked in pull.hub.asked} == {"Bearer hf_secret"}
    assert len(pull.hub.asked) <= WORKERS < len(pull.hub.fetched)
    assert {asked.token for asked in pull.hub.fetched} == {None}


def test_where_a_redirect_led_to_is_asked_directly_until_it_has_expired(pull: Pull) -> None:
    """A signed address ends some day: then the Hub gives a new one."""
    pull.hub.order(PATH, Fault(), Fault(status=403))
    with HttpConnections() as wire:
        source = _ByTheHub(pull.hub, pull.repo.head)
        download(pull.place, pull.identity(), source, wire, pull.events.append, block=BLOCK, workers=1)
    assert pull.place.final.read_bytes() == CONTENT
    assert len(pull.hub.asked) == 2 and len(pull.hub.fetched) == 26


@pytest.mark.parametrize("location", ["/org/m/resolve/main/round", "file:///etc/passwd", "http://host:port/"])
def test_a_redirect_that_leads_nowhere_is_said(pull: Pull, location: str) -> None:
    """Round and round, to a file of this machine, or to no address at all."""
    pull.hub.page_faults.append(Fault(status=302, location=location, stays=True))
    with HttpConnections() as wire, pytest.raises(HubError, match=r"more than 5 redirects|the connection failed \("):
        download(pull.place, pull.identity(), _ByTheHub(pull.hub, "main"), wire, pull.events.append, block=BLOCK)
    assert not pull.place.final.exists()


def test_a_server_without_ranges_is_said(pull: Pull) -> None:
    pull.hub.order(PATH, Fault(whole=True, stays=True))
    with pytest.raises(HubError, match="ignores ranges"):
        pull.run()


def _broken_off(pull: Pull) -> set[int]:
    """Leaves a partial file behind, and says which blocks of it have arrived."""
    pull.hub.order(PATH, *[Fault() for _ in range(12)], Fault(status=500, stays=True))
    with pytest.raises(HubError):
        pull.run(workers=1)
    pull.hub.faults.clear()
    pull.hub.fetched.clear()
    return pull.received()


def test_what_power_loss_took_from_the_disk_is_fetched_again(pull: Pull) -> None:
    """The journal got there and the bytes did not: our own checksums tell, block by block."""
    kept = _broken_off(pull)
    with pull.place.part.open("r+b") as file:
        file.seek(3 * BLOCK + 9)
        file.write(b"\0" * 5)
        file.seek(20 * BLOCK)
        file.write(b"\0" * BLOCK)
    pull.run()
    assert pull.place.final.read_bytes() == CONTENT
    again = {n for a in pull.hub.fetched for n in range((a.start or 0) // BLOCK, -(-(a.stop or 0) // BLOCK))} & kept
    assert again == {3, 20}


def test_a_partial_file_that_was_truncated_is_fetched_again_from_there(pull: Pull) -> None:
    _broken_off(pull)
    os.truncate(pull.place.part, 5 * BLOCK + 1)
    pull.run()
    assert pull.place.final.read_bytes() == CONTENT
    assert not any(asked.start == 0 for asked in pull.hub.fetched)


def test_a_new_version_on_the_hub_begins_anew_and_says_so(pull: Pull) -> None:
    _broken_off(pull)
    new = os.urandom(len(CONTENT))
    pull.file = File(new)
    pull.repo.commit({PATH: pull.file})
    pull.run()
    assert pull.place.final.read_bytes() == new
    assert any("has changed on the Hub" in note for note in pull.notes)


def test_another_revision_with_the_same_bytes_is_gone_on_with(pull: Pull) -> None:
    kept = _broken_off(pull)
    pull.run(pull.identity(revision="e" * 40))
    assert pull.place.final.read_bytes() == CONTENT
    assert min(asked.start or 0 for asked in pull.hub.fetched) == len(kept) * BLOCK


def test_a_disk_that_fills_up_is_said_and_what_arrived_is_kept(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    # A block is one piece here
    real, room = os.pwrite, [10]

    def pwrite(*args: Any) -> int:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(DiskFullError, match="Make room and pull again"):
            pull.run()
    assert len(pull.received()) == 10
    pull.hub.sent.clear()
    pull.run()
    assert pull.place.final.read_bytes() == CONTENT
    assert pull.hub.sent[PATH] == len(CONTENT) - 10 * BLOCK


def test_ctrl_c_ends_it_while_a_server_is_silent(pull: Pull) -> None:
    """At once, whatever a read waits for; no thread is left."""
    pull.hub.order(PATH, Fault(rate=100, stays=True))
    before = threading.active_count()

    def interrupt(event: DownloadEvent) -> None:
        if len(pull.hub.fetched) == 3:
            raise KeyboardInterrupt

    pull.events = type("Events", (), {"append": staticmethod(interrupt)})()  # type: ignore[assignment]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pull.run()
    assert time.monotonic() - began < 5
    names = [thread.name for thread in threading.enumerate() if "_guarded" in thread.name]
    assert not names and threading.active_count() <= before + 6  # the hub's own
