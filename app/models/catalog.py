"""The catalog: names that clients send -> entries -> files on disk.

Names are checked against each other when the settings are read. Files are looked up at every use: a model that
was downloaded a minute ago is there, one that was deleted is named as missing before anything starts.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from app.config.model_entry import AttachedEntry, Files, LocalEntry
from app.config.settings import Settings
from app.config.speculation import AUTO, NONE, PLAIN, Chain, Step, drafts, named
from app.errors import FilesMissingError, UnknownAliasError
from app.models.gguf.filenames import is_projector, shard_of, shards

# Whether a client may know of a name; None for all of them
ModelFilter = Callable[[str], bool] | None
# Pins of an alias to one way of decoding: `unsloth/GLM-4.7:plain`.
VARIANTS = ("plain", "draft", "ngram")
LATEST = ":latest"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """An entry resolved to files: `target`, `draft` and `mmproj` are absolute paths, of the first shards.

    `chain` is how to speculate; a draft that it does not use is None here.
    """

    alias: str
    target: Path
    draft: Path | None
    options: LocalEntry
    chain: Chain = PLAIN
    mmproj: Path | None = None


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
            return _complete(_path_itself(files.path, key), key)
        folder, source = self.folder(files, key)
        pattern, projectors = files.include or "*", key.endswith(".mmproj")
        # As snapshot_download reads a pattern: the whole path in the repo, `*` crossing slashes.
        there = [path for path in ggufs(folder) if is_projector(path.name) == projectors]
        matching = [path for path in there if fnmatchcase(path.relative_to(folder).as_posix(), pattern)]
        if not matching:
            what = "multimodal projector (mmproj*.gguf)" if projectors else "GGUF file"
            raise FilesMissingError(
                f"{key}: no {what} matches {pattern!r} of {source} in {folder}.{_present(folder, there)}"
            )
        models = _group(matching)
        if len(models) > 1:
            names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in models))
            raise FilesMissingError(
                f"{key}: {pattern!r} of {source} matches several models; narrow include to one of {names}"
            )
        return _complete(models[0], key)

    def folder(self, files: Files, key: str) -> tuple[Path, str]:
        """The folder of a repo or a package, and words for it; raises FilesMissingError for a missing package."""
        if files.repo is not None:
            return self._models_dir / files.repo, f"the repo {files.repo}"
        assert files.package is not None
        # find_spec never runs the package's code for a top-level name, and its files are all that we want
        spec = importlib.util.find_spec(files.package.split(".", 1)[0])
        if spec is None or not spec.submodule_search_locations:
            raise FilesMissingError(f"{key}: the Python package {files.package} is not installed here.")
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


def ggufs(folder: Path) -> list[Path]:
    """GGUF files below a folder, but for what a download left half-way (hidden)."""
    return [
        path
        for path in sorted(folder.rglob("*.gguf"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _group(paths: Iterable[Path]) -> list[Path]:
    """One path a model: the first shard's, whether or not that shard is there."""
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        groups[shards(path)[0]].append(path)
    return list(groups)


def _path_itself(path: Path, key: str) -> Path:
    shard = shard_of(path.name)
    if shard is not None and shard[0] != 1:
        raise FilesMissingError(f"{key}: {path} is shard {shard[0]}; give the first, {shards(path)[0].name}")
    if path.is_dir():
        raise FilesMissingError(f"{key}: {path} is a folder; give the GGUF file, the first shard if there are several.")
    return path


def _complete(first: Path, key: str) -> Path:
    missing = [path.name for path in shards(first) if not path.is_file()]
    if missing:
        raise FilesMissingError(f"{key}: missing in {first.parent}: {', '.join(missing)}.")
    return first


def _present(folder: Path, there: list[Path]) -> str:
    if not folder.is_dir():
        return " That folder does not exist."
    names = [path.relative_to(folder).as_posix() for path in there]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f" There are: {', '.join(names[:5])}{more}." if names else " There is none at all."
