"""Finds out whether a build of llama.cpp knows an architecture, without loading a model.

No flag lists them. llama.cpp has their names as texts in the file that contains `unknown model architecture`, so a
missing name is unknown. A name may also be present for another reason (`bert` ends `modern-bert`, and linkers share
texts), so a start can still fail.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path

from app.engine.locate import EngineBinary, locate, sibling_files
from app.errors import EngineNotFoundError
from app.models.gguf.filenames import is_projector, shards
from app.models.gguf.header import read_header

_WITNESS = b"unknown model architecture"


def knows(engine: EngineBinary, architecture: str) -> bool | None:
    """False: the engine will refuse the architecture. None: its files do not show it. Takes up to a second."""
    verdict = None
    for path in _candidates(engine):
        listed = _contains(path, architecture)
        if listed:
            return True
        verdict = listed if verdict is None else verdict
    return verdict


def doubt(engine: EngineBinary, architecture: str | None) -> str | None:
    """The reason why the engine is certain to refuse; None if it may not, or without a name."""
    if not architecture or knows(engine, architecture) is not False:
        return None
    return f"this engine does not know the architecture {architecture}; try a newer one ({engine.origin})"


def doubts(llama_server: str, files: Iterable[Path]) -> list[str]:
    """The reasons why the settings' engine would refuse these models; empty while it is not installed.

    Raises GgufError.
    """
    firsts = {shards(path)[0] for path in files if not is_projector(path.name)}
    kinds = sorted({kind for path in firsts if (kind := read_header(path).architecture)})
    try:
        engine = locate(llama_server)
    except EngineNotFoundError:
        return []
    return [text for kind in kinds if (text := doubt(engine, kind)) is not None]


def _candidates(engine: EngineBinary) -> list[Path]:
    """The program and its libraries; a shared build has the names in libllama."""
    return list(dict.fromkeys([*engine.files, *sibling_files(engine.files[0], "libllama.*")])) if engine.files else []


def _contains(path: Path, architecture: str) -> bool | None:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(_WITNESS) < 0:
                return None
            return data.find(architecture.encode("utf-8", "replace") + b"\0") >= 0
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
