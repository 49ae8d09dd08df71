"""Which ways of decoding are worth a measurement."""

from typing import Any

import pytest

from app.config.model_entry import LocalEntry
from app.config.speculation import MODES
from app.errors import ConfigError
from app.tuning.arms import candidates

BUILD = frozenset({"none", *MODES})


def entry(**more: Any) -> LocalEntry:
    return LocalEntry.model_validate({"target": {"path": "/t.gguf"}, **more})


def names(local_entry: LocalEntry, only: list[str] | None = None, *, build: Any = BUILD, layers: int = 0) -> list[str]:
    return [arm.name for arm in candidates(local_entry, build, layers, only).arms]


def test_plain_comes_first_and_a_draft_is_tried_in_four_lengths() -> None:
    """The draft's other options stay as the entry has them; what the entry runs today is an arm as well."""
    speculation = {"mode": "draft-simple", "n_max": 6, "n_min": 3, "p_min": 0.5}
    tried = candidates(entry(draft={"path": "/d.gguf"}, speculation=speculation), BUILD, 0)
    drafted = [dict(arm.chain[0].options) for arm in tried.arms if arm.name.startswith("draft-simple")]
    assert tried.arms[0].chain == ()
    assert drafted == [
        {"n_max": 2, "p_min": 0.5},
        *({"n_max": length, "n_min": 3, "p_min": 0.5} for length in (4, 8, 16)),
        {"n_max": 6, "n_min": 3, "p_min": 0.5},
    ]
    assert tried.left_out == ()


def test_without_a_draft_the_ngram_modes_that_the_build_has_are_tried() -> None:
    """Nothing is started that cannot work; the person is told which and why."""
    assert names(entry()) == ["none", "ngram-simple", "ngram-mod", "ngram-map-k"]
    tried = candidates(entry(), {"none", "ngram-simple"}, 0)
    assert [arm.name for arm in tried.arms] == ["none", "ngram-simple"]
    assert dict(tried.left_out) == dict.fromkeys(("ngram-mod", "ngram-map-k"), "this llama-server does not have it")


def test_layers_of_the_target_are_tried_where_there_are_any() -> None:
    """`draft-mtp` needs no file of its own."""
    assert names(entry(), layers=1)[1:3] == ["draft-mtp n_max 1", "draft-mtp n_max 3"]
    assert not any(name.startswith("draft-mtp") for name in names(entry(), layers=0))


def test_files_of_another_draft_mode_are_used_for_that() -> None:
    """The head of an eagle is no model that draft-simple could run."""
    arms = names(entry(draft={"path": "/d.gguf"}, speculation="draft-eagle3"))
    assert "draft-eagle3 n_max 4" in arms and "draft-eagle3" in arms
    assert not any(name.startswith("draft-simple") for name in arms)


def test_a_build_without_modes_still_drafts() -> None:
    """Before `--spec-type`, a draft model alone did it."""
    arms = names(entry(draft={"path": "/d.gguf"}), build=frozenset())
    assert arms == ["none", *(f"draft-simple n_max {n}" for n in (2, 4, 8, 16)), "draft-simple"]


def test_modes_restrict_and_plain_stays() -> None:
    """What is asked for by name is tried, or told why not, also what would not be tried unasked."""
    assert names(entry(), ["ngram-cache"]) == ["none", "ngram-cache"]
    tried = candidates(entry(), BUILD, 0, ["none", "draft-simple", "draft-mtp"])
    assert [arm.name for arm in tried.arms] == ["none"]
    assert dict(tried.left_out) == {
        "draft-simple": "it needs a draft model, and the entry names none",
        "draft-mtp": "the target has no layers for multi-token prediction",
    }
    with pytest.raises(
        ConfigError, match=r"--modes: unknown mode 'ngram'; did you mean ngram-\S+\? Modes: none, draft-simple"
    ):
        candidates(entry(), BUILD, 0, ["ngram"])


def test_a_chain_of_the_entry_is_an_arm() -> None:
    """Two modes together are measured together, unless one of them was not asked for."""
    local_entry = entry(draft={"path": "/d.gguf"}, speculation={"mode": ["draft-simple", "ngram-mod"]})
    assert "draft-simple, ngram-mod" in names(local_entry)
    assert "draft-simple, ngram-mod" not in names(local_entry, ["ngram-mod"])
