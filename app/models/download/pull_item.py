"""Which files of which repo a person or an entry asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.config.model_entry import FILE_KEYS, AttachedEntry, Entry
from app.config.settings import Settings
from app.errors import StoreError
from app.models.catalog import Catalog
from app.models.gguf.filenames import choose, parse_hub_name, projectors


@dataclass(frozen=True, slots=True)
class PullItem:
    """One model of one repo, by pattern or by quantization; with `projector` a multimodal projector."""

    repo: str
    include: str | None = None
    quantization: str | None = None
    projector: bool = False

    @property
    def pattern(self) -> str:
        """What names them, for a person."""
        return self.quantization or self.include or "*.gguf"

    def chosen(self, paths: Iterable[str]) -> list[str]:
        """Those of a repo's files that are asked for, sorted."""
        if self.projector:
            return projectors(paths, self.include, self.quantization)
        return choose(paths, self.include, self.quantization)


def items_of(alias: str, entry: Entry) -> list[PullItem]:
    """What an entry needs of the Hub, target first; raises StoreError where that is nothing."""
    if isinstance(entry, AttachedEntry):
        raise StoreError(f"'{alias}' is attached at {entry.url}: there is nothing to pull.")
    parts = {key: part for key in FILE_KEYS if (part := getattr(entry, key)) is not None}
    items = [
        PullItem(part.repo, part.include, part.quantization, projector=key == "mmproj")
        for key, part in parts.items()
        if part.repo is not None
    ]
    if not items:
        raise StoreError(f"'{alias}' names no repo of the Hub: its files are a path or in a package.")
    return items


def items_by(settings: Settings, names: Iterable[str], include: str | None) -> list[PullItem]:
    """What aliases and `hf:` names stand for; raises UnknownAlias or StoreError."""
    catalog, items = Catalog(settings), []
    for name in names:
        if name.startswith("hf:"):
            hub_name = parse_hub_name(name)
            if include is not None and hub_name.quantization is not None:
                raise StoreError(f"{name} names a quantization already; leave out --include.")
            items.append(PullItem(hub_name.repo, include, hub_name.quantization))
        elif include is not None:
            raise StoreError(f"--include goes with hf:..., and '{name}' is an alias, which has its own.")
        else:
            ref = catalog.resolve(name)
            items += items_of(ref.name, ref.entry)
    # A draft may be the target of another alias
    return list(dict.fromkeys(items))
