"""Selects files of a Hub repo for an entry or a name."""

from __future__ import annotations

import glob
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from app.config.model_entry import FILE_KEYS, AttachedEntry, Entry, Files
from app.config.settings import Settings
from app.errors import StoreError, UnknownAliasError
from app.models.catalog import Catalog, package_advice
from app.models.gguf.filenames import choose, model_of, names_a_repo, parse_hub_name, projectors, shard_of


@dataclass(frozen=True, slots=True)
class PullItem:
    """One model of one repo, by pattern or by quantization. `projector` adds a multimodal projector."""

    repo: str
    include: str | None = None
    quantization: str | None = None
    projector: bool = False

    @property
    def pattern(self) -> str:
        """The pattern or quantization, for messages."""
        return self.quantization or self.include or "*.gguf"

    def chosen(self, paths: Iterable[str]) -> list[str]:
        """Returns the matching files of a repo, sorted."""
        if self.projector:
            return projectors(paths, self.include, self.quantization)
        return choose(paths, self.include, self.quantization)


def items_of(alias: str, entry: Entry) -> list[PullItem]:
    """Returns what an entry needs from the Hub, target first. Raises StoreError if it needs nothing from there."""
    if isinstance(entry, AttachedEntry):
        raise StoreError(f"'{alias}' is attached at {entry.url}: there is nothing to pull.")
    parts = {key: part for key in FILE_KEYS if (part := getattr(entry, key)) is not None}
    items = [
        PullItem(part.repo, part.include, part.quantization, projector=key == "mmproj")
        for key, part in parts.items()
        if part.repo is not None
    ]
    if not items:
        raise StoreError(f"'{alias}' names no repo of the Hub: its target is {_elsewhere(entry.target)}")
    return items


def _elsewhere(files: Files) -> str:
    """Returns the place of files that are not on the Hub, and what to do if they are missing."""
    if files.package:
        installed = importlib.util.find_spec(files.package.split(".", 1)[0]) is not None
        remedy = "It is installed, so there is nothing to pull." if installed else package_advice(files.package)
        return f"in the package {files.package}. {remedy}"
    there = files.path is not None and files.path.is_file()
    remedy = "It is there, so there is nothing to pull." if there else "Put the file there, or correct the path."
    return f"the path {files.path}. {remedy}"


def items_by(settings: Settings, names: Iterable[str], include: str | None) -> list[PullItem]:
    """Returns what aliases and Hub names refer to. Raises UnknownAliasError or StoreError.

    A name that is an alias and a repo means the alias. The prefix `hf:` means the repo.
    """
    catalog, items = Catalog(settings), []
    for name in names:
        if not is_of_hub(catalog, name):
            if include is not None:
                raise StoreError(f"--include goes with a repo, and '{name}' is an alias, which has its own.")
            ref = catalog.resolve(name)
            items += items_of(ref.name, ref.entry)
            continue
        hub_name = parse_hub_name(name)
        if include is not None and (hub_name.quantization or hub_name.path) is not None:
            raise StoreError(f"{name} names a quantization already; leave out --include.")
        pattern = include if hub_name.path is None else _all_shards(hub_name.path)
        items.append(PullItem(hub_name.repo, pattern, hub_name.quantization))
    # A draft may be the target of another alias
    return list(dict.fromkeys(items))


def is_of_hub(catalog: Catalog, name: str) -> bool:
    """Tells whether a name means a Hub repo rather than an alias."""
    try:
        catalog.resolve(name)
    except UnknownAliasError:
        return names_a_repo(name)
    return False


def _all_shards(path: str) -> str:
    """Returns a pattern for a file. For a shard the pattern matches all shards of its model."""
    stem = glob.escape(model_of(path))
    return f"{stem}-*-of-*.gguf" if shard_of(path) is not None else glob.escape(path)
