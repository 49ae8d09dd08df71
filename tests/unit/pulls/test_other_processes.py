"""What a gateway tells of pulls that are not its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.config.settings import Settings
from app.models.catalog import Catalog
from app.models.disk.layout import FileLocation
from app.models.disk.locks import locked
from app.models.download.journal import FileVersion
from app.models.download.partial import PartialFile, announce
from app.pulls.other_processes import OtherPulls
from app.pulls.progress import PullSnapshot

REPO, DRAFT = "org/m-GGUF", "org/d-GGUF"
SHARDS = [f"m-Q4_K_M-0000{number}-of-00002.gguf" for number in (1, 2)]


class World:
    """Two aliases, a clock, and somebody who pulls."""

    def __init__(self, folder: Path, locks: ExitStack) -> None:
        models = {
            "m": {"target": {"repo": REPO, "include": "*Q4*"}, "draft": {"repo": DRAFT}},
            "q8": {"target": {"repo": REPO, "include": "*Q8*"}},
            "far": {"url": "http://other:1"},
            "own": {"target": {"path": "/m.gguf"}},
        }
        self.settings = Settings.model_validate({"models_dir": folder, "models": models})
        self.catalog = Catalog(self.settings)
        self.now = 0.0
        self.elsewhere = OtherPulls(folder, clock=lambda: self.now)
        self._locks = locks

    def pulling(self, path: str, blocks: int, repo: str = REPO, to_come: tuple[str, ...] = ()) -> None:
        """Somebody has so many bytes of a file of 100, and announced others as large."""
        place, identity = (
            FileLocation(self.settings.models_dir, repo, path),
            FileVersion(repo, path, "r", "sha256:x", 100),
        )
        place.prepare()
        for other in to_come:
            announce(FileLocation(self.settings.models_dir, repo, other), identity)
        self._locks.enter_context(locked(place.lock, lambda: None))
        with PartialFile(place, identity, 1) as partial:
            for number in range(blocks):
                partial.write(number, memoryview(b"x"))
                partial.complete(number, 0)

    def seen(self, name: str) -> PullSnapshot | None:
        return self.elsewhere.progress(self.catalog.resolve(name))

    def percent(self, name: str) -> float | None:
        self.now += 1
        seen = self.seen(name)
        return seen.percent if seen is not None else None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as locks:
        yield World(tmp_path, locks)


def test_nobody_pulls(world: World) -> None:
    assert [world.percent(name) for name in ("m", "m:plain", "q8", "far", "own")] == [None] * 5


def test_percent_are_of_the_whole_model(world: World) -> None:
    """Only of that which is pulled: another quantization of the repo is none of it."""
    world.pulling(SHARDS[0], 50, to_come=(SHARDS[1],))
    assert (world.percent("m"), world.percent("m:draft"), world.percent("q8")) == (25.0, 25.0, None)
    seen = world.seen("m")
    assert seen is not None and seen.words("m") == "another process downloads m: 25.0 % of 0.01 MB"


def test_target_and_draft_are_one(world: World) -> None:
    world.pulling(SHARDS[0], 50, to_come=(SHARDS[1],))
    world.pulling("d-Q8_0.gguf", 100, DRAFT)
    assert world.percent("m") == 49.6  # a file whose bytes are not checked yet lacks one


def test_what_nobody_knows_the_size_of_has_no_percent(world: World) -> None:
    """An older version pulls, which leaves no word of the shards to come."""
    world.pulling(SHARDS[0], 50)
    assert world.percent("m") is None and world.seen("m").received == 50  # type: ignore[union-attr]


def test_a_pull_that_has_stopped_is_not_seen(tmp_path: Path) -> None:
    """What it left is there, and nobody has the lock."""
    with ExitStack() as locks:
        world = World(tmp_path, locks)
        world.pulling(SHARDS[0], 50)
        assert world.seen("m") is not None
    assert world.seen("m") is not None  # seen a moment ago
    assert world.percent("m") is None
