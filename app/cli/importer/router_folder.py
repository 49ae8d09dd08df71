"""Lists the models of a folder as llama-server's router (`--models-dir`) does: files, or folders of one model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.config.types import as_name
from app.errors import NotImportableError
from app.models.gguf.filenames import is_gguf, is_prediction_head, is_projector, model_of, projector_for, shard_of


@dataclass(frozen=True, slots=True)
class RouterModel:
    """`path` is its first shard, `mmproj` the projector beside it."""

    name: str
    path: Path
    mmproj: Path | None = None


def models_of(folder: str) -> list[RouterModel]:
    """Returns models by name: files in the folder and its direct subfolders. Raises NotImportableError."""
    root = Path(folder).expanduser().absolute()
    try:
        entries = sorted(root.iterdir())
        models = [_model([path], path.stem) for path in entries if path.is_file()]
        models += [_model(sorted(path.iterdir()), path.name) for path in entries if path.is_dir()]
    except OSError as error:
        raise NotImportableError(f"--models-dir {folder}: cannot be read: {error.strerror}") from None
    found = [model for model in models if model is not None]
    if not found:
        raise NotImportableError(f"--models-dir {folder}: there is no GGUF model in it")
    return sorted(found, key=lambda model: model.name)


def _model(paths: list[Path], name: str) -> RouterModel | None:
    files = [path for path in paths if is_gguf(path.name) and not path.name.startswith(".")]
    models = [path for path in files if not is_projector(path.name) and not _drafts(path.name)]
    first = [path for path in models if (shard := shard_of(path.name)) is None or shard[0] == 1]
    if not first:
        return None
    projectors = [path.name for path in files if is_projector(path.name)]
    projector = projector_for([first[0].name], projectors)
    if len(paths) == 1:
        name = model_of(first[0].name)
    return RouterModel(as_name(name), first[0], first[0].with_name(projector) if projector else None)


def _drafts(name: str) -> bool:
    """Returns a model's draft files in the same folder, which the router finds by name."""
    return is_prediction_head(name) or name.lower().startswith(("dflash-", "dspark-"))
