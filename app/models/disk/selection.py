"""Which models on disk a person means by aliases and names of the Hub. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.config.model_entry import AttachedEntry
from app.errors import StoreError
from app.models.catalog import Catalog
from app.models.disk.local_model import LocalModel
from app.models.gguf.filenames import parse_hub_name


def selected(kept: Sequence[LocalModel], catalog: Catalog, names: Iterable[str]) -> list[LocalModel]:
    """Those that the names stand for, each once, those that are not here among them.

    Raises UnknownAlias, and StoreError for a name of the Hub of which nothing is here.
    """
    meant = [one for name in names for one in _of(kept, catalog, name)]
    return [one for one in kept if any(one is other for other in meant)]


def _of(kept: Sequence[LocalModel], catalog: Catalog, name: str) -> list[LocalModel]:
    if not name.startswith("hf:"):
        entry = catalog.entry(name)
        if isinstance(entry, AttachedEntry):
            raise StoreError(f"'{name}' is attached at {entry.url}: it has no files here.")
        alias = catalog.base(name)
        return [one for one in kept if any(use.alias == alias for use in one.uses)]
    wanted = parse_hub_name(name)
    of_repo = [one for one in kept if one.repo == wanted.repo and one.parts]
    if wanted.quantization is None:
        found = of_repo
    else:
        found = [one for one in of_repo if one.label.lower() == wanted.quantization.lower()]
    if not found:
        there = ", ".join(sorted(one.label for one in of_repo)) or "nothing of this repo"
        raise StoreError(f"{name}: that is not here. Here is {there}; `llama-tandem ls` lists everything.")
    return found
