"""ls and rm, as a person runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from app.cli.local_models import LocalModels
from app.config.settings import Settings
from app.errors import StoreError
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.disk.locks import locked
from app.models.disk.remove import remove
from app.models.download.pull_item import PullItem
from tests.support.fake_hub import FakeHub, Fault
from tests.support.gateway import Gateway, eventually
from tests.support.hub_models import model
from tests.support.library import MODELS, Q2, REPO, Here
from tests.support.ports import free_port


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with FakeHub() as hub:
        yield Here(hub, tmp_path)


def test_ls_lists_what_is_on_disk(here: Here) -> None:
    """And what entries miss; the Hub is not asked."""
    here.pull(PullItem(REPO, "*Q4*"))
    here.hub.asked.clear()
    rows = [line.split() for line in here.command("ls").stdout.splitlines()]
    assert rows[0] == ["alias", "repo", "quantization", "size", "state", "last", "used"]
    assert ["glm4", REPO, "Q4_K_M", "0.05", "MB", "complete", "-"] in rows
    assert {model["state"] for model in here.json("ls")} == {"complete", "missing"} and not here.hub.asked


def test_ls_knows_when_a_model_was_last_used(here: Here, make_gateway: Callable[..., Gateway]) -> None:
    """A model's start is a use; the ledger remembers it."""
    here.pull(PullItem(REPO, "*Q4*"), PullItem(REPO, projector=True))
    gateway = make_gateway(models_dir=str(here.models_dir), models={"glm4": MODELS["glm4"]}, port=free_port())
    gateway.chat("glm4")
    assert "complete, loaded" in here.command("ls", "--config", str(gateway.config)).stdout
    models = here.json("ls", "--config", str(gateway.config))
    assert {model["engine"] for model in models} == {"ready"}
    assert all(model["last_used"] for model in models) and {use["alias"] for use in models[0]["uses"]} == {"glm4"}


def test_rm_asks_first(here: Here) -> None:
    """And deletes nothing without a yes; afterwards nothing of it is left but what others need."""
    here.pull_all()
    for answer in ("n\n", ""):
        done = here.command("rm", f"hf:{REPO}:Q4_K_M", "--shared", answer=answer)
        assert done.returncode == 1 and "0.05 MB, needed by glm4" in done.stderr and "Delete? [y/N]" in done.stderr
    assert "GLM-4.7-Q4_K_M.gguf" in here.files
    done = here.command("rm", f"hf:{REPO}:Q4_K_M", "--shared", answer="y\n")
    assert done.returncode == 0 and "GLM-4.7-Q4_K_M: deleted" in done.stdout
    assert not any("Q4_K_M" in name for name in here.files) and len(here.files) == 8
    gone = here.json("rm", "glm", "--shared", "--yes")
    assert [model["uses"][0] for model in gone] == [{"alias": "glm", "key": key} for key in ("target", "mmproj")]
    assert sum(model["freed"] for model in gone) > 200_000 and here.files == set()


def test_what_another_alias_needs_stays_unless_it_is_meant(here: Here) -> None:
    """The whole is refused, before anything is deleted."""
    here.pull_all()
    with pytest.raises(StoreError, match=r"mmproj-BF16 is used by glm4 \(mmproj\)\. Pass --shared"):
        here.removable("glm")
    with pytest.raises(StoreError, match=r"UD-Q2_K_XL is used by glm\. Pass --shared"):
        here.removable(f"hf:{REPO}:UD-Q2_K_XL")
    assert len(here.removable("glm", "glm4")) == 3
    assert len(here.removable("glm", shared=True)) == 2


def test_a_download_that_stopped_is_freed_too(here: Here) -> None:
    """Its partial file and journal; what is not here cannot be deleted."""
    first = sorted(Q2)[0]
    here.hub.order(first, Fault(cut=10_000), Fault(status=416, stays=True))
    with pytest.raises(StoreError):
        here.pull(PullItem(REPO, "*Q2*"))
    assert any(name.endswith(".part") for name in here.files)
    (model,) = here.removable("glm")
    remove(model)
    assert here.files == set()
    with pytest.raises(StoreError, match="No files of glm are on this machine"):
        here.removable("glm")


def test_a_pull_under_way_is_not_pulled_from_under(here: Here) -> None:
    """Whether it was so when rm looked, or has begun since."""
    here.pull_all()
    (before,) = here.removable(f"hf:{REPO}:UD-Q2_K_XL", shared=True)
    with locked(here.place(sorted(Q2)[0]).lock, lambda: None):
        with pytest.raises(StoreError, match="is being pulled or verified"):
            here.removable("glm", shared=True)
        with pytest.raises(StoreError, match="is being pulled or verified"):
            remove(before)
    assert here.has(Q2)


def test_what_an_engine_has_is_not_deleted(here: Here, make_gateway: Callable[..., Gateway]) -> None:
    """An engine that has read it whole is known by what it was started with; once it has ended, the model may go."""
    here.pull_all()
    gateway = make_gateway(models_dir=str(here.models_dir), models={"glm": MODELS["glm"]})
    eventually(lambda: gateway.engines)
    for name in (f"hf:{REPO}:UD-Q2_K_XL", f"hf:{REPO}:mmproj-BF16"):
        with pytest.raises(StoreError, match=rf"is in use by .*\(pid {gateway.engines[0]}\)"):
            here.removable(name, shared=True)
    here.removable(f"hf:{REPO}:Q4_K_M", shared=True)
    gateway.terminate()
    eventually(lambda: not gateway.engines)
    assert here.removable("glm", shared=True)


HOLD = """
import mmap, sys
file = open(sys.argv[1], "rb")
if sys.argv[2] == "mapped":
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    file.close()
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["mapped", "open"])
def test_any_shard_that_a_process_holds_keeps_the_model(here: Here, how: str, tmp_path: Path) -> None:
    """By what the file is: the process knows it by a link's name."""
    here.pull(PullItem(REPO, "*Q2*"))
    (tmp_path / "other-name").symlink_to(here.place(sorted(Q2)[1]).final)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "other-name"), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        with pytest.raises(StoreError, match=rf"\(pid {holder.pid}\)"):
            here.removable("glm")
        holder.stdin.close()
    assert here.removable("glm")


def test_of_the_hubs_own_cache_only_the_link_is_removed(here: Here) -> None:
    """And it is said where the file stays."""
    snapshot_download(REPO, endpoint=here.hub.url, allow_patterns="*Q2*", cache_dir=here.folder / "hf" / "hub")
    assert here.command("pull", f"hf:{REPO}:UD-Q2_K_XL").returncode == 0
    links = [here.place(path).final for path in sorted(Q2)]
    cached = [path.resolve() for path in links]
    assert all(path.is_symlink() for path in links)
    done = here.command("rm", "glm", "--shared", answer="y\n")
    assert "(a link; only the link is deleted)" in done.stderr and all(str(path) in done.stdout for path in cached)
    assert not any(path.is_symlink() for path in links) and all(path.exists() for path in cached)


def test_a_file_that_was_not_pulled_is_not_ours_to_delete(here: Here) -> None:
    """One that an entry names by its path; one that lies in models_dir itself."""
    mine = here.folder / "mine.gguf"
    mine.write_bytes(model())
    here.settings = Settings.model_validate(
        {"models_dir": here.models_dir, "models": {"mine": {"target": {"path": str(mine)}}}}
    )
    here.catalog = Catalog(here.settings)
    with pytest.raises(StoreError, match="Delete it yourself"):
        here.removable("mine")
    assert mine.exists() and LocalModels(here.settings).models[0].state == "complete"


def test_a_repo_that_a_link_leads_out_of_is_left_alone(here: Here) -> None:
    """No path outside of models_dir, whatever lies there."""
    outside = here.folder / "outside"
    outside.mkdir()
    (outside / "m-Q4_K_M.gguf").write_bytes(model())
    (here.models_dir / "unsloth").mkdir(parents=True)
    (here.models_dir / REPO).symlink_to(outside, target_is_directory=True)
    models = inventory(here.settings, here.catalog)
    for local in models:
        if local.parts:
            with pytest.raises(StoreError, match="leads out of"):
                remove(local)
    assert (outside / "m-Q4_K_M.gguf").exists()
