"""Values for models on disk: a model, its files, and the entries that need it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from app.models.disk.layout import FileLocation
from app.models.gguf.filenames import is_projector

State = Literal["complete", "pulling", "partial", "missing"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file, present or missing. `size` is its complete size (None if unknown), `received` the bytes present.

    `place` is None outside of the repos below `models_dir`. `busy` means that a process fetches or checks the file now.
    """

    path: Path
    place: FileLocation | None
    received: int
    size: int | None
    busy: bool = False

    @property
    def whole(self) -> bool:
        return self.size is not None and self.received == self.size

    @property
    def linked(self) -> bool:
        """Whether the file is a link into the Hub's cache."""
        return self.path.is_symlink()


@dataclass(frozen=True, slots=True)
class ModelUse:
    """An entry that needs a model, and the key of the entry that names it."""

    alias: str
    key: str

    def __str__(self) -> str:
        return self.alias if self.key == "target" else f"{self.alias} ({self.key})"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One model or projector with all its shards. `name` is for people: the path without `.gguf`, or a pattern."""

    repo: str | None
    name: str
    quantization: str
    parts: tuple[ModelFile, ...]
    uses: tuple[ModelUse, ...] = ()

    @property
    def received(self) -> int:
        """Bytes that are present."""
        return sum(part.received for part in self.parts)

    @property
    def size(self) -> int | None:
        """Bytes of the complete model, or None if the size of a missing shard is unknown."""
        sizes = [part.size for part in self.parts if part.size is not None]
        return sum(sizes) if sizes and len(sizes) == len(self.parts) else None

    @property
    def state(self) -> State:
        if self.parts and all(part.whole for part in self.parts):
            return "complete"
        if any(part.busy for part in self.parts):
            return "pulling"
        return "partial" if self.received else "missing"

    @property
    def label(self) -> str:
        """The name within its repo: the quantization. A projector's quantization does not count."""
        return self.name if is_projector(self.name) or not self.quantization else self.quantization

    @property
    def title(self) -> str:
        return f"{self.repo}/{self.name}" if self.repo else self.name

    def with_use(self, use: ModelUse) -> LocalModel:
        """Returns the model with one more use."""
        return replace(self, uses=(*self.uses, use))
