"""What is found on disk, and whose it is."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest

from app.cli.local_models import state_in_words
from app.config.settings import Settings
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.disk.layout import FileLocation
from app.models.disk.local_model import LocalModel
from app.models.disk.locks import locked
from app.models.download.journal import FileVersion
from app.models.download.partial import PartialFile, announce

REPO = "org/glm"
SHARDS = [f"Q2/glm-Q2_K-0000{no}-of-00003.gguf" for no in (1, 2, 3)]


class Disk:
    """A folder of models, and entries that need them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models_dir = folder / "models"

    def put(self, *names: str, size: int = 10) -> None:
        for name in names:
            path = self.models_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * size)

    def begin(self, path: str, size: int, blocks: int, block: int = 10) -> FileLocation:
        """A download that stopped after so many blocks."""
        place = FileLocation(self.models_dir, REPO, path)
        place.prepare()
        with PartialFile(place, FileVersion(REPO, path, "r", "sha256:x", size), block) as partial:
            for number in range(blocks):
                zeros = bytes(partial.ranges.length(number))
                partial.write(number, memoryview(zeros))
                partial.complete(number, zlib.crc32(zeros))
        return place

    def models(self, **models: Any) -> list[LocalModel]:
        settings = Settings.model_validate({"models_dir": self.models_dir, "models": models})
        return inventory(settings, Catalog(settings))


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def rows_of(models: list[LocalModel]) -> list[tuple[Any, ...]]:
    return [
        (model.repo, model.label, model.size, state_in_words(model), [str(use) for use in model.uses])
        for model in models
    ]


def test_models_are_listed_with_who_needs_them(disk: Disk) -> None:
    """Shards as one; projectors by their own name; files that are in no repo; what is missing last."""
    disk.put(*(f"{REPO}/{name}" for name in SHARDS), f"{REPO}/mmproj-F16.gguf", "tiny.gguf", f"{REPO}/README.md")
    target = {"repo": REPO, "include": "*Q2_K*"}
    models = disk.models(
        a={"target": target, "mmproj": {"repo": REPO}},
        b={"target": {"path": disk.models_dir / "tiny.gguf"}, "draft": target},
        c={"target": {"repo": "org/none", "include": "*Q4*"}},
        far={"url": "http://127.0.0.1:1"},
    )
    assert rows_of(models) == [
        (None, "tiny", 10, "complete", ["b"]),
        (REPO, "Q2_K", 30, "complete", ["a", "b (draft)"]),
        (REPO, "mmproj-F16", 10, "complete", ["a (mmproj)"]),
        ("org/none", "*Q4*", None, "missing", ["c"]),
    ]


def test_what_entries_name_elsewhere_is_on_disk_too(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By path and inside of packages; a package that is not installed is missing."""
    disk.put("../mine/m.gguf", "../carrier/__init__.py", "../carrier/p.Q4_1.gguf")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = (tmp_path / "mine" / "m.gguf").resolve()
    models = disk.models(
        a={"target": {"path": mine}},
        b={"target": {"package": "carrier"}},
        c={"target": {"package": "not_there"}},
        d={"target": {"path": tmp_path / "gone.gguf"}},
    )
    states = {str(model.uses[0]): model.state for model in models}
    assert states == {"a": "complete", "b": "complete", "c": "missing", "d": "missing"}
    assert all(part.place is None for model in models for part in model.parts)


def test_a_download_that_stopped_is_counted_by_its_journal(disk: Disk) -> None:
    """Per cent where all sizes are known, shards where not; rounded down."""
    disk.begin("m-Q8_0.gguf", size=1000, blocks=99)
    assert rows_of(disk.models(m={"target": {"repo": REPO}})) == [(REPO, "Q8_0", 1000, "99 %", ["m"])]
    disk.put(f"{REPO}/{SHARDS[0]}")
    disk.begin(SHARDS[1], size=100, blocks=5)
    two, model = disk.models()
    assert (state_in_words(two), two.size, two.received) == ("1 of 3 shards", None, 60)
    assert state_in_words(model) == "99 %"


def test_shards_that_are_to_come_have_their_size(disk: Disk) -> None:
    """Since whoever pulls the first of them leaves word of the others."""
    disk.begin(SHARDS[0], size=100, blocks=6)
    for path in SHARDS:
        place = FileLocation(disk.models_dir, REPO, path)
        announce(place, FileVersion(REPO, path, "r", "sha256:x", 100))
    (model,) = disk.models()
    assert (state_in_words(model), model.size, model.received) == ("20 %", 300, 60)


def test_word_of_a_file_that_nobody_fetched_is_nothing_here(disk: Disk) -> None:
    """A partial file that somebody has removed leaves no more than that."""
    disk.begin(SHARDS[0], size=100, blocks=6).part.unlink()
    assert disk.models() == []


def test_all_bytes_without_the_check_are_not_complete(disk: Disk) -> None:
    disk.begin("m-Q8_0.gguf", size=100, blocks=10)
    (model,) = disk.models()
    assert model.state == "partial" and state_in_words(model) == "99 %"


def test_a_pull_that_works_on_it_is_seen(disk: Disk) -> None:
    """By the lock of the file, in this process or another."""
    place = disk.begin("m-Q8_0.gguf", size=1000, blocks=50)
    with locked(place.lock, lambda: None):
        assert state_in_words(disk.models()[0]) == "pulling, 50 %"
    assert state_in_words(disk.models()[0]) == "50 %"


def test_a_link_is_said_and_a_broken_one_is_not_here(disk: Disk, tmp_path: Path) -> None:
    """As the Hub's own cache is used in place; it may be cleared."""
    disk.put("../blob", f"{REPO}/x/y.gguf")
    link = disk.models_dir / REPO / "m-Q4_0.gguf"
    link.symlink_to(tmp_path / "blob")
    assert state_in_words(disk.models()[0]) == "complete, by link"
    (tmp_path / "blob").unlink()
    assert disk.models()[0].state == "missing" and disk.models()[0].parts[0].linked


def test_a_folder_that_is_not_there_holds_nothing(disk: Disk) -> None:
    assert disk.models() == []
