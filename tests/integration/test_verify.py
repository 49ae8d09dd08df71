"""Every byte again: what is damaged is found and fetched again, and nothing else is touched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from app.cli.local_models import verdicts_in_words
from app.config.settings import Settings
from app.models.catalog import Catalog
from app.models.disk import verify as module
from app.models.disk.inventory import inventory
from app.models.disk.layout import FileLocation
from app.models.disk.selection import selected
from app.models.disk.verify import FileVerdict, Verifier
from app.models.download.events import DownloadEvent
from app.models.download.plan import Puller
from app.models.download.pull_item import PullItem
from app.models.hub.client import Hub
from tests.support.commands import run_command
from tests.support.fake_hub import FakeHub, Fault
from tests.support.hub_models import model, shards

REPO = "unsloth/GLM-4.7-GGUF"
Q2 = shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3)
FIRST, SECOND, THIRD = sorted(Q2)


class Here:
    """Three shards that were pulled, and what was told of them."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        self.settings = Settings(models_dir=folder / "models")
        self.repo = hub.add(REPO, Q2)
        self.events: list[DownloadEvent] = []
        self.asked_for_a_hub = 0
        self.pull()

    def pull(self, **options: bool) -> None:
        Puller(self.settings, Hub(self.hub.url), lambda _: None).pull([PullItem(REPO)], **options)
        self.hub.fetched.clear()
        self.hub.asked.clear()

    def make_hub(self) -> Hub:
        self.asked_for_a_hub += 1
        return Hub(self.hub.url, sleep=lambda _: None)

    def verify(self, *names: str, repair: bool = True) -> dict[str, FileVerdict]:
        """By the path in the repo."""
        self.events.clear()
        catalog = Catalog(self.settings)
        kept = inventory(self.settings, catalog)
        found = selected(kept, catalog, names) if names else kept
        checked = Verifier(self.make_hub, self.events.append, repair=repair).verify(found)
        return {one.path.removeprefix(f"{REPO}/"): one for one in checked}

    def verdicts(self, *names: str, repair: bool = True) -> dict[str, str]:
        return {path: one.verdict for path, one in self.verify(*names, repair=repair).items()}

    def place(self, path: str) -> FileLocation:
        return FileLocation(self.settings.models_dir, REPO, path)

    def damage(self, path: str, *, quietly: bool = False) -> bytes:
        """One bit; `quietly` as a disk does it, which changes no time."""
        file = self.place(path).final
        before = file.stat()
        content = bytearray(file.read_bytes())
        content[20_000] ^= 1
        file.write_bytes(content)
        if quietly:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        return bytes(content)

    @property
    def whole(self) -> bool:
        return all(self.place(path).final.read_bytes() == content for path, content in Q2.items())


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with FakeHub() as hub:
        yield Here(hub, tmp_path)


def test_what_was_pulled_is_checked_without_the_hub(here: Here) -> None:
    """Every byte is read, and said so while it is."""
    assert here.verdicts() == dict.fromkeys(Q2, "fine")
    assert not here.asked_for_a_hub and not here.hub.asked
    plan = here.events[0]
    assert (plan.kind, plan.size) == ("plan", sum(map(len, Q2.values())))
    read = {event.path: event.received for event in here.events if event.kind == "checking"}
    assert read == {f"{REPO}/{path}": len(content) for path, content in Q2.items()}


@pytest.mark.parametrize("quietly", [True, False])
def test_only_the_damaged_file_is_fetched_again(here: Here, quietly: bool) -> None:
    """At the revision that it was pulled at, though the Hub has gone on."""
    here.repo.commit(shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3))
    here.damage(SECOND, quietly=quietly)
    found = here.verify()
    assert {path: one.verdict for path, one in found.items()} == {FIRST: "fine", SECOND: "repaired", THIRD: "fine"}
    assert "its checksum is sha256:" in found[SECOND].why
    assert here.whole and {asked.path for asked in here.hub.fetched} == {SECOND}
    assert here.verdicts() == dict.fromkeys(Q2, "fine")


def test_a_file_that_was_cut_is_repaired(here: Here) -> None:
    """Its size is part of what is wrong."""
    with here.place(THIRD).final.open("r+b") as file:
        file.truncate(100)
    assert here.verdicts()[THIRD] == "repaired" and here.whole


def test_without_repair_nothing_is_changed(here: Here) -> None:
    damaged = here.damage(FIRST)
    assert here.verdicts(repair=False) == {FIRST: "bad", SECOND: "fine", THIRD: "fine"}
    assert here.place(FIRST).final.read_bytes() == damaged and not here.hub.fetched


def test_a_repair_that_fails_leaves_the_file_and_goes_on(here: Here) -> None:
    """The others are checked; the next try goes on."""
    damaged = here.damage(FIRST)
    here.hub.order(FIRST, Fault(status=416, stays=True))
    found = here.verify()
    assert found[FIRST].verdict == "bad" and "the server has fewer" in found[FIRST].why
    assert [found[path].verdict for path in (SECOND, THIRD)] == ["fine", "fine"]
    assert here.place(FIRST).final.read_bytes() == damaged
    here.hub.faults.clear()
    assert here.verdicts()[FIRST] == "repaired" and here.whole


def test_a_disk_without_room_for_a_second_copy_is_said(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.damage(FIRST)
    monkeypatch.setattr(module, "free_bytes", lambda place: 10_000)
    found = here.verify()[FIRST]
    assert found.verdict == "bad" and "no room for a second copy" in found.why and not here.hub.fetched


def test_a_newer_version_of_the_hubs_is_not_damage(here: Here) -> None:
    """Somebody else may have fetched it."""
    new = Q2 | {SECOND: model(shard=(1, 3))}
    here.repo.commit(new)
    here.place(SECOND).final.write_bytes(new[SECOND])
    found = here.verify()[SECOND]
    assert found.verdict == "fine" and here.repo.head[:12] in found.why
    assert here.place(SECOND).final.read_bytes() == new[SECOND]


def test_what_others_put_there_is_compared_with_the_hubs_of_today(here: Here) -> None:
    """What differs may be an older version, so it is not replaced."""
    here.place(FIRST).forget()
    here.place(SECOND).forget()
    changed = here.damage(SECOND)
    found = here.verify()
    assert {path: one.verdict for path, one in found.items()} == {FIRST: "fine", SECOND: "unknown", THIRD: "fine"}
    assert "--update replaces it" in found[SECOND].why and here.place(FIRST).record() is not None
    assert here.place(SECOND).final.read_bytes() == changed


def test_where_the_hub_cannot_be_asked_nothing_is_claimed(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once a repo, however many files have no checksum."""
    for path in Q2:
        here.place(path).forget()
    del here.hub.repos[REPO]
    found = here.verify()
    assert {one.verdict for one in found.values()} == {"unknown"} and "is not on the Hub" in found[FIRST].why
    assert sum(f"/api/models/{REPO}" in asked.path for asked in here.hub.asked) == 1


def test_damage_that_cannot_be_repaired_is_told_with_the_reason(here: Here) -> None:
    """That it is damaged is known without the Hub, and what is there stays as it is."""
    changed = here.damage(SECOND)
    del here.hub.repos[REPO]
    found = here.verify()[SECOND]
    assert found.verdict == "bad" and found.why.startswith("its checksum is sha256:")
    assert "; it could not be repaired: " in found.why and "is not on the Hub" in found.why
    assert here.place(SECOND).final.read_bytes() == changed


def test_a_file_that_the_hub_never_had_is_unknown(here: Here) -> None:
    """And one in no repo."""
    (here.settings.models_dir / REPO / "mine.gguf").write_bytes(model())
    (here.settings.models_dir / "tiny.gguf").write_bytes(model())
    found = here.verify()
    assert "has no such file" in found["mine.gguf"].why
    tiny = found[str(here.settings.models_dir / "tiny.gguf")]
    assert tiny.verdict == "unknown" and "was not pulled" in tiny.why


def test_what_is_not_whole_is_left_to_pull(here: Here) -> None:
    here.place(SECOND).final.unlink()
    assert here.verdicts() == {FIRST: "fine", SECOND: "incomplete", THIRD: "fine"}
    assert not here.hub.fetched


def test_a_damaged_file_of_the_hubs_cache_is_left_there(here: Here) -> None:
    """Others use it, too: a copy of our own takes its place here."""
    for path in Q2:
        here.place(path).final.unlink()
        here.place(path).forget()
    snapshot_download(REPO, endpoint=here.hub.url, cache_dir=here.folder / "hf")
    cached = next((here.folder / "hf").rglob(FIRST.rpartition("/")[2])).resolve()
    content = cached.read_bytes()
    here.place(FIRST).final.symlink_to(cached)
    here.place(FIRST).write_record(here.repo.head, f"sha256:{cached.name}")
    cached.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = here.verify()[FIRST]
    assert found.verdict == "repaired" and str(cached) in found.why
    assert not here.place(FIRST).final.is_symlink() and here.place(FIRST).final.read_bytes() == Q2[FIRST]
    assert cached.read_bytes() != content


def test_who_runs_on_the_damaged_bytes_is_said(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repair replaces the file; what has the old one mapped keeps it."""
    from app.models.disk.in_use import UsingProcess

    here.damage(FIRST)
    monkeypatch.setattr(module, "holders", lambda paths: [UsingProcess(7, "llama-server")])
    why = here.verify()[FIRST].why
    assert "llama-server (pid 7) uses the damaged bytes until it restarts" in why and here.whole


def test_the_command_tells_and_ends_with_1_where_something_stays_damaged(here: Here) -> None:
    """As lines, and as JSON events with the progress."""
    here.damage(FIRST)
    told = run_command(here.folder, here.hub, "verify", "--no-repair")
    assert told.returncode == 1 and told.stdout == "3 files: 1 bad, 2 fine\n"
    assert f"{REPO}/{FIRST}: bad: its checksum is" in told.stderr and f"{REPO}/{THIRD}: fine\n" in told.stderr
    done = run_command(here.folder, here.hub, "verify", f"hf:{REPO}", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    verdicts = {event["path"]: event["kind"] for event in events if event["kind"] in ("fine", "repaired", "bad")}
    assert done.returncode == 0 and verdicts[f"{REPO}/{FIRST}"] == "repaired" and len(verdicts) == 3
    assert {event["kind"] for event in events} >= {"plan", "checking", "progress"} and here.whole
    empty = run_command(here.folder, here.hub, "verify", TANDEM_MODELS_DIR="elsewhere")
    assert (empty.returncode, empty.stdout) == (0, "0 files: nothing to verify\n")


def test_verdicts_are_counted() -> None:
    assert verdicts_in_words([FileVerdict("a", "fine")]) == "1 file: 1 fine"
