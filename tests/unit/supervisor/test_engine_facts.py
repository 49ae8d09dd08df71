"""What engines tell of themselves, and what has become of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.supervisor.engine_facts import EngineFacts, LoadedFiles, read
from tests.support.gateway import header_only

NONE = LoadedFiles((), None)


def test_what_b11434_tells_is_read() -> None:
    """Of `/props` and `/v1/models`."""
    props = {
        "default_generation_settings": {"n_ctx": 256},
        "chat_template": "{{ tools }}",
        "chat_template_caps": {"supports_tools": False, "supports_tool_calls": True},
        "modalities": {"vision": True, "audio": False},
        "build_info": "b11434-4227c9b",
    }
    listed = {"data": [{"meta": {"n_ctx_train": 2048, "n_params": 100, "n_ctx": 256}}]}
    assert read(props, listed, NONE) == EngineFacts(
        NONE, 256, 2048, 100, "{{ tools }}", True, True, False, "b11434-4227c9b"
    )


@pytest.mark.parametrize(
    ("props", "listed"),
    [
        ({}, {}),
        ({"default_generation_settings": [], "chat_template": 5, "build_info": 5, "modalities": None}, {"data": [5]}),
        ({"default_generation_settings": {"n_ctx": "many"}, "chat_template_caps": {"supports_tools": 1}}, {"data": {}}),
    ],
)
def test_what_is_not_told_is_none(props: dict[str, Any], listed: dict[str, Any]) -> None:
    """Another build, or a wrapper's idea of an answer."""
    assert read(props, listed, NONE) == EngineFacts(NONE)


def test_files_that_stay_have_not_changed(tmp_path: Path) -> None:
    """To be read is no change."""
    path = header_only(tmp_path / "m.gguf")
    files = LoadedFiles.of([path])
    path.read_bytes()
    assert files.changed == "" and files.header is not None and files.header.architecture == "llama"


def test_changed_files_are_named(tmp_path: Path) -> None:
    """Target, draft or projector; by a new file of the same name, or by none."""
    target, draft = header_only(tmp_path / "t.gguf"), header_only(tmp_path / "d.gguf")
    files = LoadedFiles.of([target, draft])
    header_only(tmp_path / "new.gguf", "gemma3").replace(target)
    draft.unlink()
    assert files.changed.startswith("d.gguf was deleted and t.gguf was replaced since the engine was started")
    assert files.header is not None and files.header.architecture == "llama"


def test_a_file_that_was_never_there_cannot_change(tmp_path: Path) -> None:
    """Its start fails, or did not need it."""
    files = LoadedFiles.of([tmp_path / "no.gguf"])
    header_only(tmp_path / "no.gguf")
    assert files.changed == "" and files.header is None
