"""Reports of vision models that are pulled without their projector, and then refuse images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.models.gguf.filenames import projector_for
from tests.support.fake_hub import FakeHub
from tests.support.hub_models import model
from tests.support.library import Here

REPO = "org/Vis-GGUF"
TEXT = {"Vis-Q4_K_M.gguf": model(), "Vis-Q8_0.gguf": model()}
PRECISIONS = {f"mmproj-{precision}.gguf": model() for precision in ("F32", "F16", "BF16")}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with FakeHub() as hub:
        yield Here(hub, tmp_path)


def test_a_vision_model_comes_with_its_projector(here: Here) -> None:
    """Pulled with it, and in the entry to paste."""
    here.hub.add(REPO, TEXT | PRECISIONS)
    done = here.command("pull", f"hf:{REPO}:Q4_K_M")
    assert done.returncode == 0, done.stderr
    entry = yaml.safe_load(done.stderr[done.stderr.index("models:\n") :])["models"]["org/Vis"]
    assert entry["mmproj"] == {"repo": REPO, "include": "mmproj-BF16.gguf"}
    folder = here.models_dir / REPO
    assert sorted(path.name for path in folder.glob("*.gguf")) == ["Vis-Q4_K_M.gguf", "mmproj-BF16.gguf"]


def test_the_entry_that_is_added_has_it(here: Here) -> None:
    """So that `check` finds both files."""
    here.hub.add(REPO, TEXT | {"mmproj-Vis-F16.gguf": model()})
    assert here.command("pull", f"hf:{REPO}:Q4_K_M", "--add", "vis").returncode == 0
    written = yaml.safe_load((here.folder / "tandem.yaml").read_text())["models"]["vis"]
    assert written == {
        "target": {"repo": REPO, "include": "Vis-Q4_K_M.gguf"},
        "mmproj": {"repo": REPO, "include": "mmproj-Vis-F16.gguf"},
    }


def test_projectors_that_cannot_be_told_apart_are_named(here: Here) -> None:
    """A wrong one would fail at the start; who pulls is told what there is."""
    here.hub.add(REPO, TEXT | {"mmproj-one-F16.gguf": model(), "mmproj-two-F16.gguf": model()})
    done = here.command("pull", f"hf:{REPO}:Q4_K_M")
    assert done.returncode == 0 and "mmproj-one-F16.gguf, mmproj-two-F16.gguf" in done.stderr
    assert "mmproj: {" not in done.stderr


def test_a_model_without_one_gets_no_word_of_it(here: Here) -> None:
    """Most have none."""
    here.hub.add(REPO, TEXT)
    done = here.command("pull", f"hf:{REPO}:Q4_K_M")
    assert done.returncode == 0 and "mmproj" not in done.stderr


@pytest.mark.parametrize(
    ("models", "paths", "expected"),
    [
        (["m-Q4.gguf"], ["mmproj-F32.gguf", "mmproj-F16.gguf"], "mmproj-F16.gguf"),
        (["m-Q4.gguf"], ["mmproj-model-f16.gguf", "mmproj-model-bf16.gguf"], "mmproj-model-bf16.gguf"),
        (["m-Q4.gguf"], ["mmproj-Q8_0.gguf"], "mmproj-Q8_0.gguf"),
        (["m-Q4.gguf"], ["m-mmproj.gguf"], "m-mmproj.gguf"),
        (["Big-4B-Q4.gguf"], ["mmproj-Big-4B-F16.gguf", "mmproj-Big-12B-BF16.gguf"], "mmproj-Big-4B-F16.gguf"),
        (["a/m-Q4.gguf"], ["a/mmproj-F16.gguf", "b/mmproj-BF16.gguf"], "a/mmproj-F16.gguf"),
        (["Q4/m-Q4-00001-of-00002.gguf", "Q4/m-Q4-00002-of-00002.gguf"], ["mmproj-F16.gguf"], "mmproj-F16.gguf"),
        (["m-Q4.gguf"], ["mmproj-x-F16.gguf", "mmproj-y-F16.gguf"], None),
        (["m-Q4.gguf"], [], None),
        ([], [], None),
    ],
)
def test_the_projector_is_chosen_by_name(models: list[str], paths: list[str], expected: str | None) -> None:
    """Its folder, then the model in its name, then BF16 before F16 before F32."""
    assert projector_for(models, [*models, *paths]) == expected
