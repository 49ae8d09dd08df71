"""Whether a build of llama.cpp knows an architecture, without loading a model.

No flag lists them. llama.cpp holds their names as texts in the file that refuses the others with `unknown model
architecture`, so a name that is not in that file is not known. One that is there may be there for another reason
(`bert` ends `modern-bert`, and linkers keep one text for both): a start can still refuse it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path

from app.engine.locate import EngineBinary, beside, locate
from app.errors import EngineNotFoundError
from app.models.gguf.filenames import is_projector, shards
from app.models.gguf.header import read_header

_WITNESS = b"unknown model architecture"


def knows(engine: EngineBinary, architecture: str) -> bool | None:
    """False: it will refuse such a model. None: this engine's files do not tell. Takes up to a second."""
    verdict = None
    for path in _candidates(engine):
        listed = _tells(path, architecture)
        if listed:
            return True
        verdict = listed if verdict is None else verdict
    return verdict


def doubt(engine: EngineBinary, architecture: str | None) -> str | None:
    """A sentence for a person where the engine is certain to refuse; None where it is not, or a header names none."""
    if not architecture or knows(engine, architecture) is not False:
        return None
    return f"the engine here does not know the architecture {architecture}: a newer one may ({engine.origin})"


def doubts(llama_server: str, files: Iterable[Path]) -> list[str]:
    """What is to be said of models that the engine of the settings would refuse; nothing while there is none yet.

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
    return list(dict.fromkeys([*engine.files, *beside(engine.files[0], "libllama.*")])) if engine.files else []


def _tells(path: Path, architecture: str) -> bool | None:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(_WITNESS) < 0:
                return None
            return data.find(architecture.encode("utf-8", "replace") + b"\0") >= 0
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
