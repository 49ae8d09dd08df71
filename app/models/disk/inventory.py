"""Lists the models on disk: below `models_dir`, partial downloads included, and files that entries name elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from app.config.model_entry import FILE_KEYS, Files, LocalEntry
from app.config.settings import Settings
from app.errors import FilesMissingError, StoreError
from app.models.catalog import Catalog
from app.models.disk.layout import HIDDEN, FileLocation
from app.models.disk.local_model import LocalModel, ModelFile, ModelUse
from app.models.disk.locks import is_locked
from app.models.download.partial import received_of
from app.models.find_files import ggufs
from app.models.gguf.filenames import ANY_GGUF, choose, model_of, projectors, quantization_of, shards

# An entry's needed files, and the folder to which their pattern applies.
_EntryFiles = tuple[ModelUse, Path | None, Files]


def inventory(settings: Settings, catalog: Catalog) -> list[LocalModel]:
    """Returns all models on disk, by repo and name, then the missing models that entries name."""
    entry_files = list(_entry_files(catalog))
    paths = [*_below(settings.models_dir), *_elsewhere(settings.models_dir, entry_files)]
    firsts = dict.fromkeys(shards(path)[0] for path in paths)
    models = [_local_model(settings.models_dir, first) for first in firsts]
    missing = []
    for use, folder, files in entry_files:
        matched = {number for number, model in enumerate(models) if _is_meant(model, use, folder, files)}
        models = [model.with_use(use) if number in matched else model for number, model in enumerate(models)]
        if not matched:
            missing.append(
                LocalModel(
                    files.repo, str(files.path or files.include or files.quantization or "*.gguf"), "", (), (use,)
                )
            )
    return sorted(models, key=lambda model: (model.repo or "", model.name)) + missing


def being_pulled(models_dir: Path, repo: str, chosen: Callable[[list[str]], list[str]]) -> list[LocalModel]:
    """Returns the files of a repo, filtered by `chosen`, that a process is fetching now. Usually empty."""
    hidden = models_dir / repo / HIDDEN
    paths = [part.relative_to(hidden).with_suffix("").as_posix() for part in hidden.rglob(f"{ANY_GGUF}.part")]
    firsts = dict.fromkeys(shards(models_dir / repo / path)[0] for path in (chosen(paths) if paths else ()))
    return [model for first in firsts if (model := _local_model(models_dir, first)).state == "pulling"]


def _entry_files(catalog: Catalog) -> Iterator[_EntryFiles]:
    """Yields what an entry needs. The folder may be missing."""
    for alias, entry in catalog.entries.items():
        for key in FILE_KEYS if isinstance(entry, LocalEntry) else ():
            if (files := getattr(entry, key)) is not None:
                yield ModelUse(alias, key), _folder(catalog, files), files


def _folder(catalog: Catalog, files: Files) -> Path | None:
    if files.path is not None:
        return None
    try:
        return catalog.folder(files, "")[0]
    except FilesMissingError:  # A package that is not installed
        return None


def _below(models_dir: Path) -> Iterator[Path]:
    """Returns the final locations of complete and partial files."""
    # Does not follow links, which may lead anywhere. Files of entries behind links are added later.
    yield from ggufs(models_dir, follow=False)
    for hidden in sorted(models_dir.glob(f"*/*/{HIDDEN}")):
        for part in sorted(hidden.rglob(f"{ANY_GGUF}.part")):
            yield hidden.parent / part.relative_to(hidden).with_suffix("")


def _elsewhere(models_dir: Path, entry_files: Iterable[_EntryFiles]) -> Iterator[Path]:
    """Returns files of entries that are outside `models_dir`, or inside it only through a link."""
    for _, folder, files in entry_files:
        if files.path is not None and any(path.is_file() for path in shards(files.path)):
            yield files.path
        elif folder is not None:
            yield from ggufs(folder)


def _local_model(models_dir: Path, first: Path) -> LocalModel:
    repo, name = _named(models_dir, first)
    parts = tuple(_part(models_dir, repo, path) for path in shards(first))
    return LocalModel(repo, model_of(name), quantization_of(name), parts)


def _named(models_dir: Path, path: Path) -> tuple[str | None, str]:
    """Returns the repo and the path in it. Returns None and the whole path for a file outside any repo."""
    if not path.is_relative_to(models_dir):
        return None, str(path)
    parts = path.relative_to(models_dir).parts
    return ("/".join(parts[:2]), "/".join(parts[2:])) if len(parts) > 2 else (None, "/".join(parts))


def _part(models_dir: Path, repo: str | None, path: Path) -> ModelFile:
    place = None
    if repo is not None:
        try:
            place = FileLocation(models_dir, repo, path.relative_to(models_dir / repo).as_posix())
        except StoreError:  # A name that no pull creates
            place = None
    busy = place is not None and is_locked(place.lock)
    if path.is_file():
        size = path.stat().st_size
        return ModelFile(path, place, size, size, busy)
    if place is not None and (known := received_of(place)) is not None:
        # All bytes are here, but hashing and renaming are still to come
        received = min(known.bytes_received, known.identity.size - 1)
        return ModelFile(path, place, received, known.identity.size, busy)
    return ModelFile(path, place, 0, None, busy)


def _is_meant(model: LocalModel, use: ModelUse, folder: Path | None, files: Files) -> bool:
    """Tells whether an entry's files are these, by the catalog's rules. They may be incomplete."""
    if files.path is not None:
        return files.path in (part.path for part in model.parts)
    if folder is None or not model.parts[0].path.is_relative_to(folder):
        return False
    paths = [part.path.relative_to(folder).as_posix() for part in model.parts]
    choose_name = projectors if use.key == "mmproj" else choose
    return bool(choose_name(paths, files.include, files.quantization))
