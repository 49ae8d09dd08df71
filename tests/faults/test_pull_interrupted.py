"""`llama-tandem pull` as a person stops it, and as a machine does: at any moment, in any of its steps."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.models.disk.layout import FileLocation
from app.models.download.file import WORKERS
from app.models.download.journal import BLOCK
from app.models.download.partial import received_of
from tests.support.fake_hub import FakeHub, Fault
from tests.support.gateway import eventually
from tests.support.hub_environment import hub_environment
from tests.support.hub_models import shards
from tests.support.soak import rounds

ROOT = Path(__file__).parents[2]
REPO = "org/m-GGUF"
FILES = shards("m-Q4_K_M", 2, size=3 * BLOCK)
SIZE = sum(map(len, FILES.values()))


class Person:
    """Somebody with a terminal in a folder, and a Hub."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        self._pulls: list[subprocess.Popen[str]] = []
        hub.add(REPO, dict(FILES))

    def pull(self) -> subprocess.Popen[str]:
        env = hub_environment(self.hub, self.folder, TANDEM_MODELS_DIR="models", PYTHONPATH=str(ROOT))
        command = [sys.executable, "-P", "-m", "app", "pull", f"hf:{REPO}"]
        self._pulls.append(subprocess.Popen(command, cwd=self.folder, env=env, text=True, stderr=subprocess.PIPE))
        return self._pulls[-1]

    def close(self) -> None:
        """Ends what a test that failed has left."""
        for pull in self._pulls:
            pull.kill()
            pull.wait()
            assert pull.stderr is not None
            pull.stderr.close()

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
        made = Person(hub, tmp_path)
        yield made
        made.close()


def interrupted(process: subprocess.Popen[str]) -> str:
    """What it says on stderr after Ctrl-C; pressed again where it did nothing, as Python may lose one."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=8)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=60)[1]


def test_ctrl_c_says_that_one_may_go_on_and_one_may(person: Person) -> None:
    """Exit code 130, no traceback; nothing that had arrived is fetched again."""
    # One file arrives; of the other a block takes ten seconds
    quick, slow = FILES
    person.hub.order(quick, Fault(rate=40_000_000, stays=True))
    person.hub.order(slow, Fault(rate=BLOCK / 10, stays=True))
    pulling = person.pull()
    eventually(lambda: any(path == quick for path, _ in person.received))
    said = interrupted(pulling)
    assert pulling.returncode == 130
    assert "stopped; pull again to resume" in said and "Traceback" not in said
    kept = person.received
    assert kept
    person.hub.faults.clear()
    person.hub.fetched.clear()
    again = person.pull()
    again.communicate(timeout=60)
    assert again.returncode == 0 and person.complete and not person.asked & kept


# When a pull is killed: at this question to the Hub, or once this share of the bytes has left the Hub.
Moment = tuple[str, float]

KILLS: list[list[Moment]] = [
    [("asked", 1), ("asked", 3), ("sent", 0.0)],
    [("sent", 0.1), ("sent", 0.5), ("sent", 0.9)],
    # Every byte is on its way: hashing, syncing, checking headers
    [("sent", 1.0), ("sent", 1.0)],
    [("sent", 0.7), ("asked", 2), ("sent", 0.3), ("sent", 1.0)],
]


@pytest.mark.parametrize("moments", KILLS, ids=lambda moments: "-".join(f"{kind}{at:g}" for kind, at in moments))
def test_kills_cost_a_block_a_range_and_never_a_wrong_byte(person: Person, moments: list[Moment]) -> None:
    """The whole command this time: asking the Hub, taking locks, fetching, hashing, syncing, checking headers."""
    for path in FILES:
        person.hub.order(path, Fault(rate=40_000_000, stays=True))

    def reached(kind: str, at: float) -> Callable[[], bool]:
        questions, bytes_before = len(person.hub.asked), sum(person.hub.sent.values())
        if kind == "asked":
            return lambda: len(person.hub.asked) >= questions + at
        left = SIZE - bytes_before
        return lambda: len(person.hub.fetched) > 0 and sum(person.hub.sent.values()) >= bytes_before + at * left

    killed(person, [lambda moment=moment: reached(*moment) for moment in moments])


@pytest.mark.soak
def test_kills_at_any_time_cost_a_block_a_range_and_never_a_wrong_byte(tmp_path: Path) -> None:
    """A moment is some share of a second after the command's first question."""
    for number, random in enumerate(rounds()):
        with FakeHub() as hub:
            folder = tmp_path / str(number)
            folder.mkdir()
            person = Person(hub, folder)
            for path in FILES:
                hub.order(path, Fault(rate=40_000_000, stays=True))

            def after(seconds: float, hub: FakeHub = hub) -> Callable[[], bool]:
                questions, began = len(hub.asked), 0.0

                def reached() -> bool:
                    nonlocal began
                    if len(hub.asked) > questions and not began:
                        began = time.monotonic()
                    return bool(began) and time.monotonic() >= began + seconds

                return reached

            moments = [random.random() for _ in range(random.randint(1, 4))]
            killed(person, [lambda moment=moment: after(moment) for moment in moments])
        shutil.rmtree(folder)


def killed(person: Person, moments: list[Callable[[], Callable[[], bool]]]) -> None:
    """A pull killed at each of these, and one that ends; what had arrived whole is never fetched again."""
    for moment in moments:
        kept = person.received
        person.hub.fetched.clear()
        reached = moment()
        pulling = person.pull()
        # It ends by itself where nothing is left to fetch
        eventually(lambda reached=reached, pulling=pulling: reached() or pulling.poll() is not None)
        pulling.kill()
        pulling.communicate(timeout=20)
        assert pulling.returncode in (0, -signal.SIGKILL)
        assert not person.asked & kept
    kept = person.received
    person.hub.fetched.clear()
    last = person.pull()
    _, said = last.communicate(timeout=60)
    assert last.returncode == 0, said
    assert person.complete and not person.asked & kept
    assert sum(person.hub.sent.values()) <= SIZE + len(moments) * WORKERS * BLOCK
