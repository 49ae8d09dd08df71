"""`llama-tandem pull` as a person stops it, and as a machine does: at any moment, in any of its steps."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.models.disk.layout import FileLocation
from app.models.download.file import WORKERS
from app.models.download.journal import BLOCK
from app.models.download.partial import received_of
from tests.support.fake_hub import FakeHub, Fault
from tests.support.gateway import eventually
from tests.support.hub_environment import hub_environment
from tests.support.hub_models import shards

ROOT = Path(__file__).parents[2]
REPO = "org/m-GGUF"
FILES = shards("m-Q4_K_M", 2, size=3 * BLOCK)


class Person:
    """Somebody with a terminal in a folder, and a Hub."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        hub.add(REPO, dict(FILES))

    def pull(self) -> subprocess.Popen[str]:
        env = hub_environment(self.hub, self.folder, TANDEM_MODELS_DIR="models", PYTHONPATH=str(ROOT))
        command = [sys.executable, "-P", "-m", "app", "pull", f"hf:{REPO}"]
        return subprocess.Popen(command, cwd=self.folder, env=env, text=True, stderr=subprocess.PIPE)

    @property
    def received(self) -> set[tuple[str, int]]:
        """Blocks of partial files, and of whole ones."""
        found = set()
        for path, content in FILES.items():
            place = FileLocation(self.folder / "models", REPO, path)
            ranges = received_of(place)
            whole = range(-(-len(content) // BLOCK)) if place.final.exists() else ()
            found |= {(path, number) for number in (*whole, *(ranges.received if ranges else ()))}
        return found

    @property
    def asked(self) -> set[tuple[str, int]]:
        return {
            (asked.path, number)
            for asked in self.hub.fetched
            for number in range((asked.start or 0) // BLOCK, -(-(asked.stop or 0) // BLOCK))
        }

    @property
    def complete(self) -> bool:
        return all((self.folder / "models" / REPO / path).read_bytes() == content for path, content in FILES.items())


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    with FakeHub() as hub:
        yield Person(hub, tmp_path)


def test_ctrl_c_says_that_one_may_go_on_and_one_may(person: Person) -> None:
    """Exit code 130, no traceback; nothing that had arrived is fetched again."""
    for path in FILES:
        person.hub.order(path, Fault(rate=4_000_000, stays=True))
    pulling = person.pull()
    eventually(lambda: person.received, within=20)
    pulling.send_signal(signal.SIGINT)
    _, said = pulling.communicate(timeout=20)
    assert pulling.returncode == 130
    assert "stopped; pull again to go on from here" in said and "Traceback" not in said
    kept = person.received
    assert kept
    person.hub.faults.clear()
    person.hub.fetched.clear()
    again = person.pull()
    again.communicate(timeout=60)
    assert again.returncode == 0 and person.complete and not person.asked & kept


@settings(max_examples=6, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
def test_kills_at_any_time_cost_a_block_a_range_and_never_a_wrong_byte(moments: list[float]) -> None:
    """The whole command this time: asking the Hub, taking locks, fetching, hashing, syncing, checking headers.

    A moment is a share of the time that an undisturbed pull of this set takes after the command's start.
    """
    with tempfile.TemporaryDirectory() as scratch, FakeHub() as hub:
        person = Person(hub, Path(scratch))
        for path in FILES:
            hub.order(path, Fault(rate=40_000_000, stays=True))
        for moment in moments:
            kept = person.received
            hub.fetched.clear()
            pulling = person.pull()
            # The first question to the Hub is when it has begun
            asked = len(hub.asked)
            eventually(lambda asked=asked, pulling=pulling: len(hub.asked) > asked or pulling.poll() is not None, 30)
            time.sleep(moment)
            pulling.kill()
            pulling.communicate(timeout=20)
            assert pulling.returncode in (0, -signal.SIGKILL)
            assert not person.asked & kept
        kept = person.received
        hub.fetched.clear()
        last = person.pull()
        _, said = last.communicate(timeout=60)
        assert last.returncode == 0, said
        assert person.complete and not person.asked & kept
        size = sum(map(len, FILES.values()))
        assert sum(hub.sent.values()) <= size + len(moments) * WORKERS * BLOCK
