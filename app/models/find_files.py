"""Finds an entry's GGUF files on disk, and near matches if a file is missing."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from app.config.model_entry import Files
from app.config.suggestions import FILES, did_you_mean, nearest
from app.errors import FilesMissingError
from app.models.gguf.filenames import is_gguf, is_projector, matching, quantization_of, shard_of, shards

_GLOB = re.compile(r"[*?]")
# Limit of names in a folder that are compared with a missing one
_LOOKED_AT = 1000


def ggufs(folder: Path, *, follow: bool = True) -> list[Path]:
    """Yields GGUF files below a folder, without partial downloads (hidden).

    `follow` includes links to folders, which may lead to another disk. The folder itself may always be a link.
    """
    return sorted(_walk(folder, follow, frozenset()))


def _walk(folder: Path, follow: bool, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return
    here = (status.st_dev, status.st_ino)
    if here in above:  # A link to a parent folder
        return
    for entry in visible:
        if _is_folder(entry, follow):
            yield from _walk(Path(entry.path), follow, above | {here})
        elif is_gguf(entry.name):
            yield Path(entry.path)


def _is_folder(entry: os.DirEntry[str], follow: bool) -> bool:
    with suppress(OSError):  # A cycle of links
        return entry.is_dir(follow_symlinks=follow)
    return False


def path_itself(path: Path, files: Files, key: str) -> Path:
    """Returns an entry's `path`. Raises FilesMissingError if a shard is missing."""
    if _GLOB.search(path.name) and not path.exists():
        raise FilesMissingError(
            f"{key}: path names one file, and {path.name!r} is a pattern; use include with repo or package.", advice=""
        )
    shard = shard_of(path.name)
    if shard is not None and shard[0] != 1:
        raise FilesMissingError(
            f"{key}: {path} is shard {shard[0]}; give the first, {shards(path)[0].name}.", advice=""
        )
    if path.is_dir():
        raise FilesMissingError(
            f"{key}: {path} is a folder; give the GGUF file, the first shard if there are several.", advice=""
        )
    return _complete(path, key, files)


def in_folder(folder: Path, source: str, files: Files, key: str, others: Iterable[Files] = ()) -> Path:
    """Returns the first shard of the one model of a repo or a package that matches. Raises FilesMissingError.

    `others` are models of the same repo that other entries name by a pattern. An entry without a pattern excludes them.
    """
    projectors = key.endswith(".mmproj")
    # As in snapshot_download: the pattern matches the whole path, and `*` crosses slashes
    present = {path.relative_to(folder).as_posix(): path for path in ggufs(folder)}
    present = {name: path for name, path in present.items() if is_projector(path.name) == projectors}
    matched = matching(present, files.include, files.quantization)
    selector = repr(files.quantization or files.include or "*")
    if not matched:
        what = "multimodal projector (mmproj*.gguf)" if projectors else "GGUF file"
        raise FilesMissingError(
            f"{key}: no {what} matches {selector} of {source} in {folder}.{_instead(folder, present, files)}",
            advice=_advice(files, key),
            repo=files.repo is not None,
        )
    models = _models(present[name] for name in matched)
    if len(models) > 1 and not (files.include or files.quantization):
        taken = {present[name] for other in others for name in matching(present, other.include, other.quantization)}
        models = [first for first in models if first not in taken] or models
    if len(models) > 1:
        names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in models))
        raise FilesMissingError(
            f"{key}: {selector} of {source} matches several models; narrow include to one of {names}"
        )
    return _complete(models[0], key, files)


def _models(paths: Iterable[Path]) -> list[Path]:
    """Returns one path per model: its first shard, present or not.

    For two names of one file it returns the real one.
    """
    by_file: dict[str, set[Path]] = defaultdict(set)
    for first in {shards(path)[0] for path in paths}:
        by_file[os.path.realpath(first)].add(first)
    return sorted(min(firsts, key=lambda first: (str(first) != real, first)) for real, firsts in by_file.items())


def _complete(first: Path, key: str, files: Files) -> Path:
    missing = [path for path in shards(first) if not path.is_file()]
    if missing:
        similar = _nearly(missing[0]) if missing[0] == first else None
        hint = f" Did you mean {similar}?" if similar is not None else ""
        names = ", ".join(path.name for path in missing)
        raise FilesMissingError(
            f"{key}: missing in {first.parent}: {names}.{hint}",
            advice=_advice(files, key),
            repo=files.repo is not None,
        )
    return first


def _advice(files: Files, key: str) -> str:
    """Returns the command that fetches missing files, by the kind of their source."""
    if files.repo is not None:
        alias = key.removeprefix("models.").rpartition(".")[0]
        return f"`llama-tandem pull {alias}` fetches what the Hub has; else correct the model's entry."
    if files.package is not None:
        return "Correct include in the model's entry."
    return "Put it there, or correct the path in the model's entry."


def _nearly(path: Path) -> Path | None:
    """Returns a similar path on this machine, if a missing one is misspelt."""
    slashes = Path(str(path).replace("\\", "/"))
    if slashes != path and slashes.exists():
        return slashes
    folder: Path | None = path.parent
    if folder is not None and not folder.is_dir():
        folder = _nearly(folder) if folder != folder.parent else None
    if folder is None or not folder.is_dir():
        return None
    name = path.name if (folder / path.name).exists() else nearest(path.name, _names(folder), FILES)
    return folder / name if name is not None else None


def _names(folder: Path) -> list[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, _LOOKED_AT)]
    return []


def _instead(folder: Path, present: Iterable[str], files: Files) -> str:
    if not folder.is_dir():
        similar = _nearly(folder)
        return f" That folder does not exist{f'; did you mean {similar}?' if similar is not None else '.'}"
    names = sorted(present)
    if not names:
        return " There is none at all."
    quantizations = [quantization_of(name) for name in names]
    meant_by = did_you_mean((files.quantization or files.include or "").strip("*"), filter(None, quantizations))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f" There are: {', '.join(names[:5])}{more}{meant_by or '.'}"
