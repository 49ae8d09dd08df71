"""Pulling what an alias or a name of the Hub needs, from a fake Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download

import app.models.download.ranges
import app.models.hub.client
from app.config.settings import Settings
from app.errors import AccessDeniedError, ChecksumMismatchError, DiskFullError, HubError, NotOnHubError, StoreError
from app.models.catalog import Catalog
from app.models.disk.layout import FileLocation
from app.models.disk.locks import locked
from app.models.download.events import DownloadEvent
from app.models.download.journal import BLOCK, FileVersion
from app.models.download.partial import PartialFile
from app.models.download.plan import MARGIN, Puller
from app.models.download.pull_item import PullItem
from app.models.hub.client import Hub
from tests.support import forked
from tests.support.fake_hub import FakeHub, Fault
from tests.support.fake_hub.handlers import Pages
from tests.support.fake_hub.repos import File
from tests.support.gateway import eventually
from tests.support.hub_models import model, shards
from tests.support.models import spec_of

REPO = "unsloth/GLM-4.7-GGUF"
Q2, Q4 = shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3), shards("Q4_K_M/GLM-4.7-Q4_K_M", 2)
FILES = Q2 | Q4 | {"README.md": b"# GLM", "mmproj-BF16.gguf": model()}
ITEM = PullItem(REPO, quantization="UD-Q2_K_XL")
DRAFT = "unsloth/GLM-4.5-Air-GGUF"


class Here:
    """A Hub, a folder for models, and what was told."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        self.settings = Settings(models_dir=folder / "models")
        self.repo = hub.add(REPO, FILES)
        self.events: list[DownloadEvent] = []

    def puller(self, token: str | None = None, **options: Any) -> Puller:
        hub = Hub(self.hub.url, token, sleep=lambda _: None)
        return Puller(self.settings, hub, self.events.append, **options)

    def pull(self, *items: PullItem, token: str | None = None, **options: Any) -> list[Path]:
        return self.puller(token).pull(items or [ITEM], **options)

    def break_off_at(self, path: str, *faults: Fault) -> None:
        """A pull that ends there, behind these faults, with the Hub's failure."""
        self.hub.order(path, *faults, Fault(status=500, stays=True))
        with pytest.raises(HubError):
            self.pull()
        self.hub.faults.clear()

    def place(self, path: str) -> FileLocation:
        return FileLocation(self.settings.models_dir, REPO, path)

    def has(self, files: dict[str, bytes]) -> bool:
        return all(self.place(path).final.read_bytes() == content for path, content in files.items())

    @property
    def notes(self) -> str:
        return "\n".join(event.text for event in self.events if event.kind == "note")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """Without the waits between tries, and without the person's own token and cache."""
    monkeypatch.setattr(app.models.download.ranges, "delay", lambda attempt, wish, _: 0.0)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    with FakeHub() as hub:
        yield Here(hub, tmp_path)


def test_every_shard_and_nothing_else_at_one_revision(here: Here) -> None:
    """The paths come in order, as the catalog finds them."""
    assert here.pull() == [here.place(path).final for path in sorted(Q2)]
    assert here.has(Q2)
    assert {record.revision for path in Q2 if (record := here.place(path).record())} == {here.repo.head}
    assert {asked.path for asked in here.hub.fetched} == set(Q2)


def test_what_is_complete_is_not_fetched_again(here: Here) -> None:
    here.pull()
    here.hub.fetched.clear()
    here.pull()
    assert not here.hub.fetched


def test_a_file_that_others_put_there_is_hashed_and_kept(here: Here) -> None:
    """As snapshot_download leaves it; the next pull does not even hash it."""
    snapshot_download(REPO, local_dir=here.settings.models_dir / REPO, endpoint=here.hub.url, allow_patterns="*Q2*")
    here.hub.fetched.clear()
    here.pull()
    assert not here.hub.fetched and any(event.kind == "checking" for event in here.events)
    here.events.clear()
    here.pull()
    assert not any(event.kind == "checking" for event in here.events)


def test_an_alias_needs_its_target_and_its_draft(here: Here) -> None:
    """And what was pulled is what the catalog then finds."""
    from app.models.download.pull_item import items_by

    draft = {"GLM-4.5-Air-UD-Q4_K_XL.gguf": model()}
    here.hub.add(DRAFT, draft)
    entry = {"target": {"repo": REPO, "include": "*UD-Q2_K_XL*"}, "draft": {"repo": DRAFT, "include": "*UD-Q4_K_XL*"}}
    settings = Settings.model_validate({"models_dir": here.settings.models_dir, "models": {"glm": entry}})
    files = here.pull(*items_by(settings, ["glm"], None))
    spec = spec_of(Catalog(settings), "glm")
    assert spec.target == files[0] and spec.draft == files[-1] and len(files) == 4


def test_a_projector_is_pulled_with_its_alias(here: Here) -> None:
    """Where the entry names one, and by its own pattern."""
    from app.models.download.pull_item import items_by

    here.repo.commit(FILES | {"mmproj-F32.gguf": model()})
    entry = {"target": {"repo": REPO, "include": "*UD-Q2_K_XL*"}, "mmproj": {"repo": REPO, "include": "*BF16*"}}
    settings = Settings.model_validate({"models_dir": here.settings.models_dir, "models": {"glm": entry}})
    here.pull(*items_by(settings, ["glm"], None))
    assert spec_of(Catalog(settings), "glm").mmproj == here.place("mmproj-BF16.gguf").final
    assert {asked.path for asked in here.hub.fetched} == {*Q2, "mmproj-BF16.gguf"}
    with pytest.raises(StoreError, match=r"2 multimodal projectors match; .* mmproj-BF16\.gguf, mmproj-F32\.gguf"):
        here.pull(PullItem(REPO, projector=True))
    with pytest.raises(StoreError, match="no multimodal projector there matches 'x'"):
        here.pull(PullItem(REPO, "x", projector=True))


def test_a_set_that_was_begun_goes_on_at_its_revision(here: Here) -> None:
    """Though the Hub has a newer one meanwhile: shards of two uploads make no model. It is said."""
    here.break_off_at(sorted(Q2)[-1])
    old, new = here.repo.head, shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3)
    here.repo.commit(new)
    here.pull()
    assert here.has(Q2) and "has changed on the Hub" in here.notes and old[:12] in here.notes
    here.pull(update=True)
    assert here.has(new)


def test_a_revision_that_is_gone_is_said(here: Here) -> None:
    here.pull()
    first = here.repo.head
    here.repo.commit(shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3))
    del here.repo.commits[first]
    with pytest.raises(StoreError, match="--update downloads the new one"):
        here.pull()
    assert here.has(Q2)


def test_a_new_commit_that_leaves_the_files_alone_changes_nothing(here: Here) -> None:
    here.pull()
    here.repo.commit(FILES | {"README.md": b"new"})
    here.hub.fetched.clear()
    here.pull()
    assert not here.hub.fetched and not here.notes


def test_all_shards_have_the_revision_of_the_pull_that_found_them_whole(here: Here) -> None:
    """Though one of them came before a commit that left them alone: later they would seem to be of several."""
    here.break_off_at(sorted(Q2)[-1])
    here.repo.commit(FILES | {"README.md": b"new"})
    here.pull()
    assert {record.revision for path in Q2 if (record := here.place(path).record())} == {here.repo.head}
    here.repo.commit(shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3))
    here.pull()
    assert here.has(Q2) and "has changed on the Hub" in here.notes


def test_a_file_that_is_another_is_not_overwritten_unasked(here: Here) -> None:
    path = sorted(Q2)[0]
    here.place(path).prepare()
    here.place(path).final.write_bytes(b"mine")
    with pytest.raises(StoreError, match="differs from the Hub's file"):
        here.pull()
    assert here.place(path).final.read_bytes() == b"mine"
    here.pull(update=True)
    assert here.has(Q2)


def test_the_disk_is_checked_first(here: Here) -> None:
    """With a margin, and less what is here already; nothing is fetched when it does not fit."""
    size = sum(map(len, Q2.values()))
    with pytest.raises(DiskFullError, match="Make room"):
        here.puller(free=lambda _: size + MARGIN - 1).pull([ITEM])
    assert not here.hub.fetched
    here.puller(free=lambda _: size + MARGIN).pull([ITEM])
    here.puller(free=lambda _: 0).pull([ITEM])
    assert here.has(Q2)


def test_several_models_that_match_are_named(here: Here) -> None:
    with pytest.raises(StoreError, match=r"2 models there match; name one, such as hf:.*Q4_K_M.*UD-Q2_K_XL"):
        here.pull(PullItem(REPO))
    with pytest.raises(StoreError, match=r"no GGUF model there matches 'Q9'. Available: Q4_K_M, UD-Q2_K_XL"):
        here.pull(PullItem(REPO, quantization="Q9"))


def test_a_repository_without_gguf_files_is_named(here: Here) -> None:
    here.hub.add("org/safe", {"model.safetensors": b"weights"})
    with pytest.raises(StoreError, match=r"^org/safe has no GGUF model\. `llama-tandem search safe`"):
        here.pull(PullItem("org/safe"))


def test_an_upload_that_is_not_complete_hides_nothing_else(here: Here) -> None:
    """Nor does a hostile name, which is not shown either."""
    half = dict(list(shards("m-Q2_K", 3).items())[:2])
    here.hub.add("org/half", half | {"m-Q8_0.gguf": model(), "m\x1b[2J.gguf": model()})
    with pytest.raises(StoreError, match=r"'Q9'\. Available: Q2_K, Q8_0\.$"):
        here.pull(PullItem("org/half", quantization="Q9"))
    here.repo.commit(half | {"m-Q8_0.gguf": model()})
    with pytest.raises(StoreError, match=r"2 models there match; name one, such as .* Available: Q2_K, Q8_0"):
        here.pull(PullItem(REPO))
    with pytest.raises(StoreError, match="2 of 3 shards"):
        here.pull(PullItem(REPO, quantization="Q2_K"))


def test_a_name_that_is_not_there_brings_near_ones(here: Here) -> None:
    with pytest.raises(NotOnHubError, match=rf"Similar names: {REPO}"):
        here.pull(PullItem("unsloth/GLM-4.8-GGUF"))


def test_gated_repos_say_what_is_missing(here: Here) -> None:
    """A token, or the licence's page; with both it works."""
    here.repo.gated, here.repo.allowed = True, {"hf_good"}
    page = f"{here.hub.url}/{REPO}"
    with pytest.raises(AccessDeniedError, match=f"accept it at {page}, then set HF_TOKEN"):
        here.pull()
    with pytest.raises(AccessDeniedError, match=f"account has not accepted: do so at {page}"):
        here.pull(token="hf_other")
    with pytest.raises(AccessDeniedError, match="token in HF_TOKEN is not accepted"):
        here.pull(token="hf_invalid")
    here.pull(token="hf_good")
    assert here.has(Q2)


@pytest.mark.parametrize("status", [401, 403])
def test_who_has_no_token_is_not_told_that_it_is_wrong(here: Here, status: int) -> None:
    """And who has one is told where it is kept."""
    here.hub.page_faults.append(Fault(status=status, stays=True))
    with pytest.raises(AccessDeniedError, match=rf"answers {status}, and no token is set: set HF_TOKEN"):
        Hub(here.hub.url).search("glm", 1)
    kept = here.folder / "no-token"
    kept.write_text("hf_old")
    with pytest.raises(AccessDeniedError, match=rf"the token in {kept} (is not accepted|may not read this)"):
        Hub(here.hub.url).search("glm", 1)


def test_what_asking_later_cannot_help_is_not_put_off(here: Here) -> None:
    here.hub.page_faults.append(Fault(status=404, stays=True))
    with pytest.raises(HubError, match=r"answers 404, .* Check HF_ENDPOINT\."):
        here.pull()


def test_a_host_of_bytes_that_refuses_them_is_said_in_words(here: Here) -> None:
    """The Hub lets us in, and its CDN does not: no expired address, so it is not tried for a minute."""
    for status in (401, 403):
        here.hub.faults.clear()
        here.hub.order(sorted(Q2)[0], Fault(status=status, stays=True))
        with pytest.raises(AccessDeniedError) as caught:
            here.pull()
        for part in (f"answers {status}", "127.0.0.1", "HF_TOKEN", "gated", "licence", REPO, "pull again"):
            assert part in str(caught.value)


def test_a_private_repo_says_that_a_token_may_be_missing(here: Here) -> None:
    here.repo.private = True
    with pytest.raises(NotOnHubError, match="or it is private and HF_TOKEN is not set"):
        here.pull()


def test_the_token_stays_with_the_hub(here: Here) -> None:
    """The host of the bytes is another."""
    here.pull(token="hf_secret")
    assert {asked.token for asked in here.hub.asked} == {"Bearer hf_secret"}
    assert here.hub.fetched and {asked.token for asked in here.hub.fetched} == {None}


def test_a_page_of_another_host_is_asked_for_without_the_token(here: Here) -> None:
    """Where the Hub sends a question on, too."""
    page = f"{here.hub.bytes_url}/{REPO}/{here.repo.head}/README.md"
    here.hub.page_faults.append(Fault(status=302, location=page))
    with pytest.raises(HubError, match="Unexpected response from"):
        here.pull(token="hf_secret")
    assert [asked.token for asked in here.hub.fetched] == [None]


def test_a_xet_backed_file_comes_in_plain_ranges(here: Here) -> None:
    """The Hub says that it is one; its bytes are asked for by GETs to the Hub, which sends them on, token and all."""
    content = model(300_000)
    here.hub.add("org/xet", {"m.gguf": File(content, xet=True)})
    [file] = here.pull(PullItem("org/xet"), token="hf_secret")
    assert file.read_bytes() == content
    assert not any("xet-read-token" in asked.path for asked in here.hub.asked)
    assert {asked.token for asked in here.hub.fetched} == {None}


def test_the_hub_itself_may_be_busy(here: Here) -> None:
    """Retry-After is what is waited."""
    waits: list[float] = []
    here.hub.page_faults.extend([Fault(status=429, retry_after="5"), Fault(status=503)])
    hub = Hub(here.hub.url, sleep=waits.append)
    assert hub.listing(REPO).revision == here.repo.head
    assert 5 <= waits[0] <= 6 and waits[1] <= 2
    here.hub.page_faults.append(Fault(status=500, stays=True))
    with pytest.raises(HubError, match="answers 500; try again later"):
        hub.listing(REPO)
    here.hub.page_faults[0] = Fault(status=429, retry_after="3600", stays=True)
    with pytest.raises(HubError, match="answers 429; try again in 3600 s, as it asks"):
        hub.listing(REPO)


def test_ctrl_c_ends_a_rest_that_the_hub_asks_for(here: Here) -> None:
    """At once, though it is a thread of the download that rests."""
    waits: list[float] = []

    def interrupt(event: DownloadEvent) -> None:
        if event.kind == "plan":
            here.hub.page_faults.append(Fault(status=429, retry_after="30", stays=True))
        elif event.kind == "progress" and here.hub.asked[-1].method == "HEAD":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Puller(here.settings, Hub(here.hub.url, sleep=waits.append), interrupt).pull([ITEM])
    assert not waits and sum(asked.method == "HEAD" for asked in here.hub.asked) == 1


def test_a_hub_that_is_not_there_is_said(here: Here) -> None:
    with pytest.raises(HubError, match="Cannot reach"):
        Hub("http://127.0.0.1:9", sleep=lambda _: None).listing(REPO)


@pytest.mark.parametrize("listed", [{"size": "10"}, {"size": -1}, {"oid": "/etc/passwd"}, {"oid": "\x1b[2J"}])
def test_a_listing_of_what_no_hub_has_is_refused(here: Here, listed: dict[str, Any]) -> None:
    """A checksum becomes a path in the Hub's own cache, so that it has to be one."""
    here.hub.add("org/odd", {"m.gguf": File(model(), listed=listed)})
    with pytest.raises(HubError, match=r"Unexpected response from \S+ \(ValueError: 'm.gguf' has no") as error:
        here.pull(PullItem("org/odd"))
    assert str(error.value).isprintable() and not here.hub.fetched


def test_a_commit_that_is_none_is_refused(here: Here) -> None:
    """It becomes a path too."""
    here.repo.commits["../../outside"] = here.repo.commits[here.repo.head]
    with pytest.raises(HubError, match="outside' is no commit"):
        here.pull()


@pytest.mark.parametrize("page", [b"<html>Welcome to the hotel</html>", b"[]", b"{}", b'[{"id": 5}]'])
def test_what_is_no_hub_is_said(here: Here, page: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the page of a network that wants a login first."""
    monkeypatch.setattr(Pages, "_serve", lambda handler: handler.answer(200, page))
    with pytest.raises(HubError, match=r"Unexpected response from .* Check HF_ENDPOINT"):
        here.pull()


def test_a_token_that_is_none_is_said(here: Here) -> None:
    with pytest.raises(AccessDeniedError, match="The token in HF_TOKEN is invalid") as error:
        here.pull(token="hf_secrét")
    assert "secr" not in str(error.value)


@pytest.mark.parametrize("repo", ["org/a--b", "org/a.git", f"org/{'a' * 100}"])
def test_what_the_hub_would_not_have_as_a_name_is_said(here: Here, repo: str) -> None:
    with pytest.raises(NotOnHubError, match=f"^{repo} is not a valid repo name"):
        here.pull(PullItem(repo))


@pytest.mark.parametrize("name", ["../../../evil.gguf", "/tmp/evil.gguf", "a/../../evil.gguf", ".tandem/evil.gguf"])
def test_a_hostile_name_leads_nowhere(here: Here, name: str) -> None:
    """The Hub's listing is untrusted."""
    here.hub.add("org/evil", {name: model()})
    with pytest.raises(StoreError, match="unsafe file name"):
        here.pull(PullItem("org/evil"))
    assert not list(here.folder.rglob("evil*")) and not here.hub.fetched


@pytest.mark.parametrize("link", [".", "UD-Q2_K_XL", ".tandem", ".tandem/UD-Q2_K_XL"])
def test_a_link_that_leads_out_is_not_followed(here: Here, link: str) -> None:
    """Be it the repo's folder, one in it, or one of ours."""
    outside = here.folder / "outside"
    outside.mkdir()
    inside = here.settings.models_dir / REPO / link
    inside.parent.mkdir(parents=True)
    inside.symlink_to(outside, target_is_directory=True)
    with pytest.raises(StoreError, match="leads out of"):
        here.pull()
    assert not list(outside.iterdir())


def test_links_that_go_round_in_a_circle_are_said(here: Here) -> None:
    inside = here.settings.models_dir / REPO
    inside.parent.mkdir(parents=True)
    inside.symlink_to(inside.name)
    with pytest.raises(StoreError, match="cannot be created"):
        here.pull()


def test_a_link_in_the_place_of_a_lock_is_not_followed(here: Here) -> None:
    lock = here.place(sorted(Q2)[0]).lock
    lock.parent.mkdir(parents=True)
    lock.symlink_to(here.folder / "outside")
    with pytest.raises(StoreError, match=r"\.lock: Too many levels of symbolic links"):
        here.pull()
    assert not (here.folder / "outside").exists()


@pytest.mark.parametrize("which", ["lock", "part", "journal", "json"])
def test_what_the_file_system_refuses_is_said(here: Here, which: str) -> None:
    """Whatever it is that we keep beside a file."""
    first = here.place(sorted(Q2)[0])
    in_the_way = first.lock.with_suffix(f".{which}")
    in_the_way.mkdir(parents=True)
    with pytest.raises(StoreError, match=rf"{first.path}\.\w+(-\d+)?: Is a directory\.$"):
        here.pull()


def test_a_path_that_no_file_system_takes_is_said(here: Here) -> None:
    """Each part of it would do."""
    here.hub.add("org/long", {f"{'/'.join(['d' * 200] * 25)}/m.gguf": model()})
    with pytest.raises(StoreError, match=r"m\.gguf: File name too long\.$"):
        here.pull(PullItem("org/long"))


def test_a_token_that_cannot_be_read_is_said(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(here.folder))
    with pytest.raises(StoreError, match=rf"^{here.folder}: Is a directory\.$"):
        here.puller()


def test_a_size_that_the_hub_contradicts_is_said(here: Here) -> None:
    """Where the bytes are, or as soon as it is asked where they are."""
    here.hub.add("org/liar", {"m.gguf": File(model(), said_size=10)})
    with pytest.raises(ChecksumMismatchError, match="announced 10 bytes, the server has"):
        here.pull(PullItem("org/liar"))
    here.hub.fetched.clear()
    here.hub.add("org/liar", {"m.gguf": File(model(), listed={"size": 10})})
    with pytest.raises(ChecksumMismatchError, match="the Hub lists 10 bytes and announces"):
        here.pull(PullItem("org/liar"))
    assert not here.hub.fetched


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"m-00001-of-00002.gguf": model(shard=(0, 2)), "m-00002-of-00002.gguf": model(shard=(1, 3))}, "belong"),
        ({"m-00001-of-00002.gguf": model(shard=(0, 2)), "m-00002-of-00002.gguf": model(shard=(0, 2))}, "belong"),
        ({"m-00001-of-00002.gguf": model(shard=(0, 2))}, "1 of 2 shards"),
        ({"m.gguf": b"<!doctype html>"}, "not a GGUF"),
        ({"m.gguf": model(architecture=None)}, "no architecture"),
    ],
)
def test_headers_are_checked_at_the_end(here: Here, files: dict[str, bytes], said: str) -> None:
    here.hub.add("org/odd", files)
    with pytest.raises(Exception, match=said):
        here.pull(PullItem("org/odd"))


def _cached_with_damage(here: Here, files: dict[str, bytes]) -> str:
    """All of them, the first with a wrong byte; returns its path."""
    snapshot_download(REPO, endpoint=here.hub.url, allow_patterns="*Q2*")
    first = sorted(files)[0]
    blobs = (here.folder / "hf").glob("*/blobs/*")
    damaged = next(blob for blob in blobs if blob.read_bytes() == files[first])
    damaged.write_bytes(files[first][:-1] + bytes([files[first][-1] ^ 1]))
    return first


def test_the_hubs_own_cache_is_used_in_place(here: Here) -> None:
    """And said so; a file there with wrong bytes is not."""
    first = _cached_with_damage(here, Q2)
    others = sorted(Q2)[1:]
    here.hub.fetched.clear()
    here.pull()
    assert here.has(Q2) and {asked.path for asked in here.hub.fetched} == {first}
    assert all(here.place(path).final.is_symlink() for path in others)
    assert here.notes.count("used in place") == 2 and here.notes.count("wrong bytes") == 1


def test_damage_in_the_hubs_own_cache_takes_nothing_from_here(here: Here) -> None:
    """The version that an update is to replace stays until the new one is whole."""
    here.pull()
    new = shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3)
    here.repo.commit(new)
    here.hub.order(_cached_with_damage(here, new), Fault(status=500, stays=True))
    with pytest.raises(HubError):
        here.pull(update=True)
    assert "wrong bytes" in here.notes and here.has(Q2)


def test_damage_in_the_hubs_own_cache_costs_no_download_that_was_begun(here: Here) -> None:
    first, content = sorted(Q2)[0], model(BLOCK + 1000, shard=(0, 3))
    here.repo.commit(FILES | {first: content})
    here.break_off_at(first, Fault(cut=BLOCK))
    _cached_with_damage(here, Q2 | {first: content})
    here.hub.fetched.clear()
    here.pull()
    assert here.has(Q2 | {first: content}) and {asked.start for asked in here.hub.fetched} == {BLOCK}


def test_the_hubs_own_cache_may_be_of_another_revision(here: Here) -> None:
    """Somebody has changed the README there since; the bytes of the model are the same."""
    snapshot_download(REPO, endpoint=here.hub.url, allow_patterns="*Q2*")
    here.repo.commit(FILES | {"README.md": b"new"})
    here.hub.fetched.clear()
    here.pull()
    assert here.has(Q2) and not here.hub.fetched and here.notes.count("used in place") == 3
    assert {record.revision for path in Q2 if (record := here.place(path).record())} == {here.repo.head}


def test_two_pulls_at_once_work_as_one(here: Here) -> None:
    """The second waits, shows how far the first has got, and fetches nothing."""
    path = sorted(Q2)[0]
    here.hub.order(path, Fault(rate=60_000))
    other = Here(here.hub, here.folder)
    here.hub.repos[REPO] = here.repo
    first = threading.Thread(target=here.pull)
    first.start()
    eventually(lambda: here.hub.fetched)
    other.pull()
    first.join()
    assert any(event.kind == "waiting" and event.path == path for event in other.events)
    assert here.has(Q2)
    assert {p: here.hub.sent[p] for p in Q2} == {p: len(content) for p, content in Q2.items()}


def test_who_waits_is_told_how_far_the_other_is(here: Here) -> None:
    """By the other's journal."""
    content = model(2 * BLOCK)
    repo = here.hub.add("org/m", {"m.gguf": content})
    place = FileLocation(here.settings.models_dir, "org/m", "m.gguf")
    place.prepare()
    identity = FileVersion("org/m", "m.gguf", repo.head, f"sha256:{File(content).sha256}", len(content))
    with locked(place.lock, lambda: None):
        with PartialFile(place, identity) as partial:
            partial.write(0, memoryview(content)[:BLOCK])
            partial.complete(0, zlib.crc32(content[:BLOCK]))
        pulling = threading.Thread(target=here.pull, args=[PullItem("org/m")])
        pulling.start()
        eventually(lambda: DownloadEvent("waiting", "m.gguf", BLOCK, len(content)) in here.events)
        assert not here.hub.fetched
    pulling.join()
    assert place.final.read_bytes() == content and min(asked.start or 0 for asked in here.hub.fetched) == BLOCK


def _command(here: Here, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TANDEM_"))}
    own |= {"HF_ENDPOINT": here.hub.url, "HF_HOME": str(here.folder / "home"), "TANDEM_MODELS_DIR": "models"}
    own |= {"TANDEM_STATE_DIR": "state", "TANDEM_CACHE_DIR": "cache"} | env
    return forked.run(words, env=own, folder=here.folder)


def test_the_command_speaks_to_hf_endpoint_and_prints_the_entry(here: Here) -> None:
    """Plain lines where there is no terminal."""
    done = _command(here, "pull", f"hf:{REPO}:UD-Q2_K_XL")
    assert done.returncode == 0, done.stderr
    assert here.has(Q2)
    assert "  unsloth/GLM-4.7:\n" in done.stderr and "target: {repo: unsloth/GLM-4.7-GGUF" in done.stderr
    assert not list(here.folder.glob("*.yaml"))


def test_a_pull_warns_of_what_the_engine_at_hand_does_not_know(here: Here) -> None:
    """The model is kept: a newer engine may load it."""
    engine = here.folder / "llama-server"
    engine.write_bytes(b"unknown model architecture: '\0gemma3\0")
    engine.chmod(0o755)
    done = _command(here, "pull", f"hf:{REPO}:UD-Q2_K_XL", TANDEM_LLAMA_SERVER=str(engine))
    assert done.returncode == 0 and "does not know the architecture llama" in done.stderr
    assert here.has(Q2)


@pytest.mark.parametrize("endpoint", ["http://[", "http://hub:99999"])
def test_an_endpoint_that_is_no_address_is_said(here: Here, endpoint: str) -> None:
    """huggingface_hub does not come up with it at all."""
    refused = _command(here, "pull", f"hf:{REPO}", HF_ENDPOINT=endpoint)
    assert refused.returncode == 1 and "llama-tandem: HF_ENDPOINT is not a URL" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_command_prints_json_events(here: Here) -> None:
    done = _command(here, "pull", f"hf:{REPO}", "--include", "*UD-Q2*", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    pulled = {path: FILES[path] for path in (*sorted(Q2), "mmproj-BF16.gguf")}
    assert [event["path"] for event in events if event["kind"] == "done"] == list(pulled)
    assert events[0]["kind"] == "plan" and events[0]["size"] == sum(map(len, pulled.values()))


def test_add_writes_the_entry_and_keeps_the_comments(here: Here) -> None:
    """What it writes is what the catalog finds; an alias that is there stays as it is."""
    file = here.folder / "tandem.yaml"
    file.write_text("# mine\nport: 8000  # the usual\nmodels:\n  # a friend's\n  far: {url: 'http://127.0.0.1:9'}\n")
    words = ("pull", f"hf:{REPO}:UD-Q2_K_XL", "--add", "glm")
    done = _command(here, *words)
    assert done.returncode == 0, done.stderr
    text = file.read_text()
    assert all(comment in text for comment in ("# mine", "# the usual", "# a friend's", "'http://127.0.0.1:9'"))
    from app.config.settings import load_settings

    settings = load_settings(file, models_dir=here.settings.models_dir)
    assert spec_of(Catalog(settings), "glm").target == here.place(sorted(Q2)[0]).final
    here.hub.asked.clear()
    again = _command(here, *words)
    assert again.returncode == 1 and "exists already" in again.stderr and file.read_text() == text
    odd = _command(here, *words[:-1], "no such\nname")
    assert odd.returncode == 1 and "--add no such" in odd.stderr and not here.hub.asked


def test_check_and_plan_say_what_the_first_request_would_pull(here: Here) -> None:
    """With sizes, and what of it is here already; what the Hub does not have cannot start."""
    entry = {"target": {"repo": REPO, "include": "*UD-Q2_K_XL*"}, "pull": "on_demand"}
    (here.folder / "tandem.yaml").write_text(json.dumps({"models": {"glm": entry}, "llama_server": "embedded"}))
    checked, planned = _command(here, "check", "glm"), _command(here, "plan", "glm")
    size = sum(map(len, Q2.values()))
    line = f"the first request pulls {REPO}: 3 files, {size / 1e6:.2f} MB (revision {here.repo.head[:12]})"
    assert checked.returncode == 0 and f"  {line}\n  ok\n" in checked.stdout, checked.stdout
    assert planned.returncode == 1 and planned.stdout == "" and line in planned.stderr
    assert not here.hub.fetched and not (here.folder / "models").exists()
    del here.hub.repos[REPO]
    checked = _command(here, "check", "glm")
    assert checked.returncode == 1 and f"It cannot be pulled: {REPO} is not on the Hub" in checked.stdout
    here.hub.repos[REPO] = here.repo
    here.pull()
    assert "target     " in _command(here, "check", "glm").stdout


def test_a_preview_counts_what_is_here(here: Here) -> None:
    """Of files that were begun, as well; and a disk that is too small is found out before the first request."""
    here.break_off_at(sorted(Q2)[-1])
    plan = here.puller().plan(ITEM)
    assert [here.puller().here(identity) for identity in plan.files] == [len(Q2[p]) for p in sorted(Q2)[:2]] + [0]
    with pytest.raises(DiskFullError):
        here.puller(free=lambda _: 0).check_disk([plan])


def test_what_an_update_replaces_is_no_room_saved(here: Here) -> None:
    """The old file stays until the new one is whole."""
    here.pull()
    here.repo.commit(shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3))
    with pytest.raises(DiskFullError, match="the download needs"):
        here.puller(free=lambda _: 0).pull([ITEM], update=True)


def test_the_environment_tells_token_and_cache(here: Here) -> None:
    """HF_TOKEN opens what is gated; what HF_HOME's cache holds is used from there, and nothing is fetched."""
    here.repo.gated, here.repo.allowed = True, {"hf_good"}
    name = f"hf:{REPO}:UD-Q2_K_XL"
    refused = _command(here, "pull", name, HF_TOKEN="hf_other")
    assert refused.returncode == 1 and "has not accepted" in refused.stderr and "hf_other" not in refused.stderr
    cache = here.folder / "home" / "hub"
    snapshot_download(REPO, endpoint=here.hub.url, token="hf_good", cache_dir=cache, allow_patterns=["*Q2*", "mmproj*"])
    here.hub.fetched.clear()
    done = _command(here, "pull", name, HF_TOKEN="hf_good")
    assert done.returncode == 0 and done.stderr.count("used in place from the Hub's cache") == 4, done.stderr
    assert here.has(Q2) and not here.hub.fetched


def test_offline_nothing_is_asked(here: Here) -> None:
    """What is complete is enough; what is not is said."""
    name = f"hf:{REPO}:UD-Q2_K_XL"
    missing = _command(here, "pull", name, HF_HUB_OFFLINE="1")
    assert missing.returncode == 1 and "HF_HUB_OFFLINE is set" in missing.stderr and not here.hub.asked
    here.pull()
    here.hub.asked.clear()
    done = _command(here, "pull", name, HF_HUB_OFFLINE="1")
    assert done.returncode == 0 and "not compared with the Hub" in done.stderr and not here.hub.asked


def test_offline_the_hubs_own_cache_is_enough(here: Here) -> None:
    """Used in place as it is online; half of it is not enough, and what is here already helps at its own revision."""
    name, cache = f"hf:{REPO}:UD-Q2_K_XL", here.folder / "home" / "hub"
    snapshot_download(REPO, endpoint=here.hub.url, cache_dir=cache, allow_patterns="*Q2*00001*")
    here.hub.asked.clear()
    half = _command(here, "pull", name, HF_HUB_OFFLINE="1")
    assert half.returncode == 1 and "HF_HUB_OFFLINE is set" in half.stderr and not (here.folder / "models").exists()
    snapshot_download(REPO, endpoint=here.hub.url, cache_dir=cache, allow_patterns="*Q2*")
    here.hub.asked.clear()
    here.hub.fetched.clear()
    for times in (3, 0):
        done = _command(here, "pull", name, HF_HUB_OFFLINE="1")
        assert done.returncode == 0 and "not compared with the Hub" in done.stderr, done.stderr
        assert done.stderr.count("used in place from the Hub's cache") == times
        assert here.has(Q2) and not here.hub.asked and not here.hub.fetched
    last = here.place(sorted(Q2)[-1])
    next((cache / f"models--{REPO.replace('/', '--')}").glob(f"snapshots/*/{last.path}")).unlink()
    here.place(sorted(Q2)[0]).forget()
    here.place(sorted(Q2)[0]).final.unlink()
    again = _command(here, "pull", name, HF_HUB_OFFLINE="1")
    assert again.returncode == 0 and again.stderr.count("used in place") == 1 and here.has(Q2), again.stderr


def test_offline_damage_in_the_hubs_own_cache_is_found(here: Here) -> None:
    """By the checksum under which the cache keeps it; the whole that cannot be had then is said."""
    cache = here.folder / "home" / "hub"
    snapshot_download(REPO, endpoint=here.hub.url, cache_dir=cache, allow_patterns="*Q2*")
    first = sorted(Q2)[0]
    damaged = next(cache.rglob(first.rpartition("/")[2])).resolve()
    damaged.write_bytes(Q2[first][:-1] + bytes([Q2[first][-1] ^ 1]))
    here.hub.asked.clear()
    done = _command(here, "pull", f"hf:{REPO}:UD-Q2_K_XL", HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and "has wrong bytes: not used" in done.stderr
    assert "HF_HUB_OFFLINE is set" in done.stderr
    assert not here.place(first).final.exists() and not here.hub.asked


def test_the_lock_ends_with_its_holder(here: Here) -> None:
    """However it ends: the kernel lets go of it."""
    path = sorted(Q2)[0]
    place = here.place(path)
    place.prepare()
    program = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(9)"
    holder = subprocess.Popen([sys.executable, "-c", program, str(place.lock)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    pulling = threading.Thread(target=here.pull)
    pulling.start()
    eventually(lambda: any(event.kind == "waiting" for event in here.events))
    assert not here.hub.fetched
    holder.kill()
    pulling.join()
    holder.communicate()
    assert here.has(Q2)
