"""Entries for a running gateway's memory: what they take, and what of that takes trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.config.ephemeral_entry import ephemeral_entry
from app.config.settings import Settings
from app.errors import EntryRefusedError

SETTINGS = Settings(models_dir=Path("/srv/models"))


def trust(**written: Any) -> tuple[str, ...]:
    return ephemeral_entry("new", written, SETTINGS).takes_trust


@pytest.mark.parametrize(
    ("path", "opened"),
    [
        ("tiny.gguf", "/srv/models/tiny.gguf"),
        ("org/name/tiny.gguf", "/srv/models/org/name/tiny.gguf"),
        ("/srv/models/tiny.gguf", "/srv/models/tiny.gguf"),
        ("/srv/models/a/../tiny.gguf", "/srv/models/tiny.gguf"),
    ],
)
def test_paths_below_the_models_folder_take_no_trust(path: str, opened: str) -> None:
    """Relative ones start from there, and are opened as they were judged."""
    made = ephemeral_entry("new", {"target": {"path": path}}, SETTINGS)
    assert made.takes_trust == () and made.entry.target.path == Path(opened)


@pytest.mark.parametrize(
    "written",
    [
        {"target": {"path": "/etc/tiny.gguf"}},
        {"target": "/etc/tiny.gguf"},
        {"target": "../tiny.gguf"},
        {"target": {"path": "/srv/models/../tiny.gguf"}},
        {"target": {"path": "/srv/models-of-others/tiny.gguf"}},
        {"target": "org/repo", "draft": {"path": "/etc/tiny.gguf"}},
        {"target": "org/repo", "mmproj": {"path": "/etc/tiny.gguf"}},
        {"target": "org/repo", "args": ["--lora", "x.gguf"]},
        {"target": "org/repo", "env": {"LD_PRELOAD": "x.so"}},
    ],
)
def test_what_reads_or_runs_anything_takes_trust(written: dict[str, Any]) -> None:
    assert len(trust(**written)) == 1


def test_what_defaults_say_is_the_gateways_own() -> None:
    """Whoever adds the entry has not said it."""
    settings = SETTINGS.model_copy(update={"defaults": {"args": ["--no-mmap"], "env": {"A": "b"}, "parallel": 2}})
    made = ephemeral_entry("new", {"target": "org/repo"}, settings)
    assert made.takes_trust == () and made.entry.args == ("--no-mmap",) and made.entry.parallel == 2


@pytest.mark.parametrize(
    ("alias", "written", "words"),
    [
        ("new", {}, "target: is missing"),
        ("new", {"target": "org/repo", "pin": True}, "pin is for entries of the settings file"),
        ("new", {"target": "org/repo", "ctxsize": 1}, "ctxsize: no such key; did you mean ctx_size"),
        ("new", {"target": "org/repo", "url": "http://x"}, "url: no such key"),
        ("new", {"target": "org/repo", "ctx_size": "big"}, "ctx_size: must be a whole number"),
        ("new", {"target": {"repo": "../.."}}, "target.repo: '../..' must look like"),
        ("new", {"target": 7}, "target: must be a mapping"),
        ("new", {"target": "org/repo", "speculation": {"mode": "draft-simpel"}}, "speculation.mode"),
        ("new", {"target": "org/repo", "args": ["--port", "1"]}, "--port is the gateway's to choose"),
        ("two words", {"target": "org/repo"}, "alias: a model's name must be"),
        ("-x", {"target": "org/repo"}, "alias: a model's name must not begin with a dash"),
        ("new", {"target": "C:\\models\\tiny.gguf"}, "is a path of Windows"),
    ],
)
def test_what_is_wrong_is_named(alias: str, written: dict[str, Any], words: str) -> None:
    with pytest.raises(EntryRefusedError) as caught:
        ephemeral_entry(alias, written, SETTINGS)
    assert words in str(caught.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(EntryRefusedError, match=r"pin .*parallel: .*"):
        ephemeral_entry("new", {"target": "org/repo", "pin": True, "parallel": 0}, SETTINGS)
