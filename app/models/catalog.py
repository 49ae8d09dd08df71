"""The catalog: names that clients send -> entries -> files on disk.

Names are checked against each other when the settings are read. Files are looked up at every use: a model that
was downloaded a minute ago is there, one that was deleted is named as missing before anything starts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.config.model_entry import FILE_KEYS, AttachedEntry, Files, LocalEntry
from app.config.settings import Settings
from app.config.speculation import AUTO, NONE, PLAIN, Chain, Step, drafts, named
from app.errors import FilesMissingError, UnknownAliasError
from app.models.find_files import in_folder, path_itself
from app.models.gguf.filenames import shards
from app.models.purpose import Purpose

# Whether a client may know of a name; None for all of them
ModelFilter = Callable[[str], bool] | None
# Pins of an alias to one way of decoding: `unsloth/GLM-4.7:plain`.
VARIANTS = ("plain", "draft", "ngram")
LATEST = ":latest"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """An entry resolved to files: `target`, `draft` and `mmproj` are absolute paths, of the first shards.

    `chain` is how to speculate; a draft that it does not use is None here. `purpose` is for completions until somebody
    has looked into the target.
    """

    alias: str
    target: Path
    draft: Path | None
    options: LocalEntry
    chain: Chain = PLAIN
    mmproj: Path | None = None
    purpose: Purpose = Purpose.COMPLETION


class Catalog:
    """What can be asked for. An entry's own name and its `aliases` are one namespace."""

    def __init__(self, settings: Settings) -> None:
        self.entries = settings.models
        self._models_dir = settings.models_dir
        # Each belongs to one entry: the settings see to it
        aliases = {alias: name for name, entry in settings.models.items() for alias in entry.aliases}
        self._owner: dict[str, str] = {name: name for name in settings.models} | aliases

    @property
    def names(self) -> tuple[str, ...]:
        """Entries' own names, in the order of the file."""
        return tuple(self.entries)

    @property
    def known(self) -> tuple[str, ...]:
        """Every name that a client may send."""
        return tuple(self._owner)

    def shown(self, may: ModelFilter) -> tuple[str, ...]:
        """Entries' own names, of those that a client may know by any of their names."""
        if may is None:
            return self.names
        return tuple(name for name, entry in self.entries.items() if may(name) or any(map(may, entry.aliases)))

    def canonical(self, name: str, may: ModelFilter = None) -> str:
        """The entry's own name for any of its names, with the variant if one is asked for; raises UnknownAliasError.

        An exact name wins: an alias may itself end in `:plain` or `:latest`. What a client may not know of is unknown
        to it.
        """
        alias = self._canonical(name)
        if alias is None or (may is not None and self._split(alias)[0] not in self.shown(may)):
            shown = self.shown(may)
            raise UnknownAliasError(name, [known for known, owner in self._owner.items() if owner in shown])
        return alias

    def _canonical(self, name: str) -> str | None:
        if name in self._owner:
            return self._owner[name]
        # Ollama's clients append a tag to whatever has none.
        name = name.removesuffix(LATEST)
        if name in self._owner:
            return self._owner[name]
        base, _, variant = name.rpartition(":")
        owner = self._owner.get(base)
        return f"{owner}:{variant}" if owner is not None and variant in self.variants(owner) else None

    def entry(self, name: str) -> LocalEntry | AttachedEntry:
        """The entry that a name or a variant's name belongs to; raises UnknownAliasError."""
        return self.entries[self._split(name)[0]]

    def base(self, name: str) -> str:
        """The entry's own name without a variant; raises UnknownAliasError."""
        return self._split(name)[0]

    def variants(self, alias: str) -> tuple[str, ...]:
        """The ways of decoding that an entry can be pinned to, but for names of others; none for an attached server."""
        local = isinstance(self.entries[alias], LocalEntry)
        return tuple(variant for variant in VARIANTS if local and f"{alias}:{variant}" not in self._owner)

    def plain(self, name: str) -> str:
        """The name that decodes plainly: the variant, or the name itself where it asks for no speculation.

        It is the name itself as well where the variant's is another model's.
        """
        alias = self._split(name)[0]
        return name if self.requested(name) == NONE or "plain" not in self.variants(alias) else f"{alias}:plain"

    def requested(self, name: str) -> str:
        """The speculation that an entry or a variant asks for, by name; raises UnknownAliasError."""
        alias, variant = self._split(name)
        entry = self.entries[alias]
        if isinstance(entry, AttachedEntry):
            return NONE
        chain = pinned(entry, variant) if variant else entry.chain
        return AUTO if chain is None else named(chain)

    def _split(self, name: str) -> tuple[str, str]:
        """Entry and variant, the latter empty where none is asked for; raises UnknownAliasError."""
        canonical = self.canonical(name)
        if canonical in self.entries:
            return canonical, ""
        alias, _, variant = canonical.rpartition(":")
        return alias, variant

    def spec(self, name: str, chain: Chain | None = None) -> ModelSpec:
        """The files of a local entry, all of them there; raises UnknownAliasError or FilesMissingError.

        `chain` replaces the modes of the entry or the variant; an entry that leaves the choice open is plain
        without it.
        """
        alias, variant = self._split(name)
        entry = self.entries[alias]
        if isinstance(entry, AttachedEntry):
            raise FilesMissingError(f"'{alias}' is attached at {entry.url}: it has no files and no launch plan here.")
        target = self._first_shard(entry.target, f"models.{alias}.target")
        if chain is None:
            chain = pinned(entry, variant) if variant else entry.chain or PLAIN
        draft = self._first_shard(entry.draft, f"models.{alias}.draft") if entry.draft and drafts(chain) else None
        mmproj = self._first_shard(entry.mmproj, f"models.{alias}.mmproj") if entry.mmproj else None
        return ModelSpec(self.canonical(name), target, draft, entry, chain, mmproj)

    def files(self, name: str) -> tuple[list[Path], list[Path]]:
        """All shards of target and draft, whether the modes at hand use the draft or not; raises as `spec` does."""
        entry = self.entry(name)
        target = shards(self.spec(name, PLAIN).target)
        if isinstance(entry, AttachedEntry) or entry.draft is None:
            return target, []
        return target, shards(self._first_shard(entry.draft, f"models.{self._split(name)[0]}.draft"))

    def _first_shard(self, files: Files, key: str) -> Path:
        if files.path is not None:
            return path_itself(files.path, files, key)
        folder, source = self.folder(files, key)
        return in_folder(folder, source, files, key, self._with_patterns(files))

    def _with_patterns(self, files: Files) -> list[Files]:
        """The files of other entries in the same place that say which they are."""
        parts = [getattr(entry, name) for entry in self.entries.values() for name in FILE_KEYS if hasattr(entry, name)]
        place = (files.repo, files.package)
        return [
            part
            for part in parts
            if part is not None and (part.repo, part.package) == place and (part.include or part.quantization)
        ]

    def folder(self, files: Files, key: str) -> tuple[Path, str]:
        """The folder of a repo or a package, and words for it; raises FilesMissingError for a missing package."""
        if files.repo is not None:
            return self._models_dir / files.repo, f"the repo {files.repo}"
        assert files.package is not None
        # find_spec never runs the package's code for a top-level name, and its files are all that we want
        spec = importlib.util.find_spec(files.package.split(".", 1)[0])
        if spec is None or not spec.submodule_search_locations:
            raise FilesMissingError(
                f"{key}: the Python package {files.package} is not installed here.",
                advice=f"pip install {files.package.split('.', 1)[0]}",
            )
        return Path(next(iter(spec.submodule_search_locations))), f"the package {files.package}"


def pinned(entry: LocalEntry, variant: str) -> Chain:
    """A variant's modes: the entry's own of that family with their options, else the family's usual one."""
    if variant == "plain":
        return PLAIN
    own = tuple(step for step in entry.chain or PLAIN if step.family == variant)
    if own:
        return own
    if variant == "ngram":
        return (Step("ngram-mod"),)
    return (Step("draft-simple" if entry.draft else "draft-mtp"),)
