"""Deletes models that are not in use."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from app.errors import StoreError
from app.models.catalog import Catalog
from app.models.disk.in_use import holders
from app.models.disk.layout import FileLocation
from app.models.disk.local_model import LocalModel
from app.models.disk.locks import locked_if_free
from app.models.disk.os_errors import in_words
from app.models.download.pull_item import is_of_hub


@dataclass(frozen=True, slots=True)
class RemovedModel:
    """One deleted model. `freed` is in bytes. Deleting a link frees nothing: `linked` is its destination."""

    model: LocalModel
    freed: int
    linked: tuple[Path, ...] = ()


def removable(
    models: Sequence[LocalModel], catalog: Catalog, names: Collection[str], *, shared: bool
) -> list[LocalModel]:
    """Returns the models that `names` select and that may be deleted. Raises StoreError with the reason if one may not.

    `shared` includes models that other aliases need.
    """
    here = [model for model in models if model.parts]
    if not here:
        raise StoreError(f"No files of {', '.join(names)} are on this machine.")
    named = {catalog.resolve(name).alias for name in names if not is_of_hub(catalog, name)}
    for model in here:
        for part in model.parts:
            if part.place is None:
                raise StoreError(f"{part.path} is not in a repo below models_dir. Delete it yourself.")
        others = list(dict.fromkeys(str(use) for use in model.uses if use.alias not in named))
        if others and not shared:
            raise StoreError(f"{model.title} is used by {', '.join(others)}. Pass --shared to delete it anyway.")
        if any(part.busy for part in model.parts):
            raise _busy(model)
        _check_unused(model)
    return here


def remove(model: LocalModel) -> RemovedModel:
    """Deletes a model's files, partial downloads included. Raises StoreError if the model is in use.

    Folders and locks stay, since a waiting download has them open.
    """
    linked = tuple(part.path.resolve() for part in model.parts if part.linked)
    places = [part.place for part in model.parts if part.place is not None]
    with ExitStack() as locks:
        for place in places:
            place.prepare()
            if not locks.enter_context(locked_if_free(place.lock)):
                raise _busy(model)
        _check_unused(model)
        return RemovedModel(model, sum(map(_remove, places)), linked)


def _remove(place: FileLocation) -> int:
    """Returns the bytes freed. A partial file has holes, and the destination of a link stays."""
    with in_words(place.final):
        freed = sum(path.lstat().st_blocks * 512 for path in (place.final, place.part) if os.path.lexists(path))
        place.final.unlink(missing_ok=True)
        place.drop_partial()
        place.forget()
        return freed


def _check_unused(model: LocalModel) -> None:
    if using := holders([part.path for part in model.parts]):
        raise StoreError(f"Cannot delete {model.title}: it is in use by {', '.join(map(str, using))}.")


def _busy(model: LocalModel) -> StoreError:
    return StoreError(f"Cannot delete {model.title}: it is being pulled or verified.")
