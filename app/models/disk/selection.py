"""Selects models on disk by aliases and Hub names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.config.model_entry import AttachedEntry
from app.errors import StoreError
from app.models.catalog import Catalog
from app.models.disk.local_model import LocalModel
from app.models.download.pull_item import is_of_hub
from app.models.gguf.filenames import parse_hub_name


def selected(models: Sequence[LocalModel], catalog: Catalog, names: Iterable[str]) -> list[LocalModel]:
    """Returns the models that the names select, each once, missing models included.

    Raises UnknownAliasError, or StoreError for a Hub name without any file on disk.
    """
    chosen = [model for name in names for model in _of(models, catalog, name)]
    return [model for model in models if any(model is other for other in chosen)]


def _of(models: Sequence[LocalModel], catalog: Catalog, name: str) -> list[LocalModel]:
    if not is_of_hub(catalog, name):
        ref = catalog.resolve(name)
        if isinstance(ref.entry, AttachedEntry):
            raise StoreError(f"'{name}' is attached at {ref.entry.url}: it has no files here.")
        return [model for model in models if any(use.alias == ref.alias for use in model.uses)]
    hub_name = parse_hub_name(name)
    of_repo = [model for model in models if model.repo == hub_name.repo and model.parts]
    if hub_name.quantization is None:
        matching = of_repo
    else:
        matching = [model for model in of_repo if model.label.lower() == hub_name.quantization.lower()]
    if not matching:
        present = ", ".join(sorted(model.label for model in of_repo)) or "nothing of this repo"
        raise StoreError(f"{name} is not on this machine, which has {present}. `llama-tandem ls` lists all models.")
    return matching
