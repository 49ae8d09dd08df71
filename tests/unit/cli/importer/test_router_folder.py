"""The folder of a router: a model is a file, or a folder with one in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.importer.preset import import_preset
from app.cli.importer.router_folder import models_of
from app.errors import NotImportableError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        *("tiny-Q4_K_M.gguf", "two words.gguf", "mmproj-alone.gguf", "notes.txt", ".part.gguf"),
        *("gemma-it-Q8_0/gemma-it-Q8_0.gguf", "gemma-it-Q8_0/mmproj-F16.gguf", "gemma-it-Q8_0/mtp-Q8_0.gguf"),
        *("Kimi/Kimi-UD-IQ1_S-00001-of-00002.gguf", "Kimi/Kimi-UD-IQ1_S-00002-of-00002.gguf", "empty/readme.md"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_each_model_is_one_with_its_projector(folder: Path) -> None:
    models = {model.name: (model.path.name, model.mmproj and model.mmproj.name) for model in models_of(str(folder))}
    assert models == {
        "Kimi": ("Kimi-UD-IQ1_S-00001-of-00002.gguf", None),
        "gemma-it-Q8_0": ("gemma-it-Q8_0.gguf", "mmproj-F16.gguf"),
        "tiny-Q4_K_M": ("tiny-Q4_K_M.gguf", None),
        "two-words": ("two words.gguf", None),
    }


def test_the_routers_flags_hold_for_each(folder: Path) -> None:
    """What a section of a preset says goes before what holds for all."""
    words = ["llama-server", "--models-dir", str(folder), "--models-preset", "a.ini", "--models-max", "2", "-t", "3"]
    text = "[*]\nctx-size = 4096\n[Kimi]\nctx-size = 512\n[org/other]\n"
    made = import_preset(words, text, "a.ini", None, models_of(str(folder)))
    keys = {entry.name: entry.keys for entry in made.entries}
    assert made.max_loaded == 2 and len(keys) == 5
    assert keys["Kimi"]["ctx_size"] == 512 and keys["tiny-Q4_K_M"]["ctx_size"] == 4096
    assert all(entry["threads"] == 3 for entry in keys.values())
    assert keys["gemma-it-Q8_0"]["mmproj"] == {"path": str(folder / "gemma-it-Q8_0" / "mmproj-F16.gguf")}
    assert keys["org/other"]["target"]["repo"] == "org/other"


def test_a_folder_without_a_model_or_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotImportableError, match="there is no GGUF model in it"):
        models_of(str(tmp_path))
    with pytest.raises(NotImportableError, match="cannot be read: No such file"):
        models_of(str(tmp_path / "gone"))
