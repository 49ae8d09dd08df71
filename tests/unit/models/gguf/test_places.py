"""What a GGUF file is fit for, by its header alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.models.gguf.filenames import shards
from app.models.gguf.header_cache import header_of
from app.models.gguf.places import (
    head_sizes,
    misplaced_adapter,
    misplaced_draft,
    misplaced_projector,
    misplaced_target,
    mixed_shards,
)
from tests.support.headers import write_header
from tests.support.tiny_models import write_sharded, write_target


def header(path: Path, arch: str = "llama", **keys: Any) -> Any:
    fields = {"general.architecture": arch} | {key.replace("__", "."): value for key, value in keys.items()}
    return header_of(write_header(path, fields))


def test_each_kind_has_its_place(tmp_path: Path) -> None:
    """And is told where it belongs."""
    model = header(tmp_path / "m.gguf")
    adapter = header(tmp_path / "a.gguf", general__type="adapter")
    projector = header(tmp_path / "p.gguf", "clip")
    assert (misplaced_target(model), misplaced_draft(model), misplaced_projector(projector)) == ("", "", "")
    assert misplaced_adapter(adapter, model) == ""
    assert "is a LoRA adapter, not a model" in misplaced_target(adapter) and "--lora" in misplaced_target(adapter)
    assert "name it as mmproj" in misplaced_target(projector)
    assert "is a model (llama), not a multimodal projector" in misplaced_projector(model)
    assert "is a LoRA adapter, not a multimodal" in misplaced_projector(adapter)
    assert "is a LoRA adapter" in misplaced_draft(adapter) and "projector" in misplaced_draft(projector)
    assert "is a model (llama), not a LoRA adapter" in misplaced_adapter(model, model)
    other = header(tmp_path / "o.gguf", "qwen3")
    assert "is an adapter for llama, and the model is qwen3" in misplaced_adapter(adapter, other)


@pytest.mark.parametrize("fields", [{"arch": "bert"}, {"arch": "qwen3", "qwen3__pooling_type": 3}])
def test_an_embedding_model_drafts_nothing(tmp_path: Path, fields: dict[str, Any]) -> None:
    embedding = header(tmp_path / "e.gguf", **fields)
    assert "embedding model" in misplaced_draft(embedding) and misplaced_target(embedding) == ""


def test_shards_are_known_by_what_they_say_of_themselves(tmp_path: Path) -> None:
    """Names alone say nothing: a link may have another, and two downloads may have been mixed."""
    parts = write_sharded(tmp_path / "s", 3)
    assert mixed_shards(parts) == ""
    renamed = tmp_path / "blob.gguf"
    shutil.copy(parts[0], renamed)
    assert "part 1 of 3" in mixed_shards([renamed]) and "-00001-of-00003.gguf" in mixed_shards([renamed])
    second = tmp_path / "second.gguf"
    shutil.copy(parts[1], second)
    assert "part 2 of 3" in mixed_shards([second])
    shutil.copy(parts[2], parts[1])
    assert "says of itself that it is part 3 of 3" in mixed_shards(parts)
    write_target(parts[1])
    assert f"{parts[1]} is no part" in mixed_shards(parts)
    two = tmp_path / "t-00001-of-00002.gguf"
    shutil.copy(parts[0], two)
    shutil.copy(second, tmp_path / "t-00002-of-00002.gguf")
    assert "part 1 of 3" in mixed_shards(shards(two))


def test_the_name_of_a_whole_model_does_not_matter(tmp_path: Path) -> None:
    """llama.cpp loads the first file alone where its header counts no parts."""
    first = write_target(tmp_path / "x-00001-of-00002.gguf")
    write_target(tmp_path / "x-00002-of-00002.gguf")
    assert mixed_shards(shards(first)) == ""


def test_head_sizes_are_told_or_worked_out(tmp_path: Path) -> None:
    """None where they differ from layer to layer, or the cache holds something else."""
    usual = {"llama__embedding_length": 64, "llama__attention__head_count": 4}
    assert head_sizes(header(tmp_path / "a.gguf", **usual)) == (16, 16)
    told = header(tmp_path / "b.gguf", **usual, llama__attention__key_length=64)
    assert head_sizes(told) == (64, 16)
    assert head_sizes(header(tmp_path / "c.gguf")) is None
    assert head_sizes(header(tmp_path / "d.gguf", **usual, llama__attention__kv_lora_rank=512)) is None


def test_a_header_is_remembered_until_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    first = header(path)
    assert header_of(path) is first
    write_header(path, {"general.architecture": "qwen3"})
    os.utime(path, ns=(1, 1))
    assert header_of(path).architecture == "qwen3"
