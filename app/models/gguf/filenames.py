"""Parses and checks names from the Hub, which are untrusted, and names that people type. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from app.errors import StoreError

_REPO = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_SHARD = re.compile(r"^(?P<stem>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)$", re.IGNORECASE)
# `Q4_K_M`, `UD-IQ2_XXS`, `MXFP4_MOE`, `BF16`: the last part of a file name.
_QUANTIZATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4\w*|NVFP4\w*|BF16|F16|F32|FP16|FP32))$", re.IGNORECASE
)
# As a glob, since some tools write the extension in capitals.
ANY_GGUF = "*.[gG][gG][uU][fF]"
# The longest name of common file systems, minus the suffix of a partial file.
_LONGEST = 240


@dataclass(frozen=True, slots=True)
class HubName:
    """A repo, optionally with a quantization or the path of a file."""

    repo: str
    quantization: str | None = None
    path: str | None = None


# Prefixes of `org/name` as copied from the Hub's pages and other programs
_HUB_PREFIX = re.compile(r"(?:hf:|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/)(?:models/)?", re.IGNORECASE)
# Suffixes: a page of the repo, or a file
_PAGE = re.compile(r"(?:tree|blob|resolve|raw)/[^/]+(?:/(?P<path>.+))?|discussions.*|commits.*")


def parse_hub_name(text: str) -> HubName:
    """Parses `hf:org/name`, `org/name:Q4_K_M`, `hf.co/org/name` or a URL of huggingface.co. Raises StoreError."""
    prefix = _HUB_PREFIX.match(text)
    rest = text[prefix.end() :].partition("?")[0].partition("#")[0].rstrip("/") if prefix else text
    page = "/".join(rest.split("/")[2:])
    repo, _, quantization = "/".join(rest.split("/")[:2] if page else [rest]).partition(":")
    match = _PAGE.fullmatch(page) if page and prefix else None
    if page and match is None:
        raise StoreError(f"{text!r} is not the name of a repo; it must look like unsloth/GLM-4.7-GGUF.")
    path = unquote(match["path"]) if match and match["path"] else None
    if path is not None and not is_gguf(path):
        path = None
    return HubName(check_repo(repo), quantization or None, path)


def names_a_repo(text: str) -> bool:
    """Tells whether a text that is no alias means a Hub repo: it has a Hub prefix, or looks like `org/name`."""
    if _HUB_PREFIX.match(text):
        return True
    return not is_gguf(text) and is_repo(text.partition(":")[0])


def check_repo(repo: str) -> str:
    """Raises StoreError for an invalid repo name."""
    if not is_repo(repo):
        raise StoreError(f"{repo!r} is not the name of a repo; it must look like unsloth/GLM-4.7-GGUF.")
    return repo


def is_repo(name: str) -> bool:
    """Tells whether a text is a valid repo name, and safe as two folder names."""
    return _REPO.fullmatch(name) is not None and ".." not in name


def check_path(path: str) -> str:
    """Checks a file's path in a repo, which must be safe below our folder. Raises StoreError."""
    if not is_safe(path):
        raise StoreError(f"Refusing to download {path[:100]!r}: unsafe file name in the repository.")
    return path


def is_safe(path: str) -> bool:
    """Tells whether a path is safe below our folder and on a terminal. Hidden names are not, since ours are hidden."""
    parts = path.split("/")
    return not (
        not path.isprintable()
        or "\\" in path
        or PurePosixPath(path).is_absolute()
        or any(not part or part.startswith(".") or part != part.strip() for part in parts)
        or any(len(part.encode("utf-8", "replace")) > _LONGEST for part in parts)
    )


def is_model(path: str) -> bool:
    """Tells whether a file is a GGUF model, and no multimodal projector or importance matrix."""
    name = path.rpartition("/")[2]
    return is_gguf(path) and not is_projector(name) and not name.startswith("imatrix")


def is_gguf(path: str) -> bool:
    return path.lower().endswith(".gguf")


def projectors(paths: Iterable[str], include: str | None = None, quantization: str | None = None) -> list[str]:
    """Returns the multimodal projectors that match a pattern or a quantization, sorted."""
    ggufs = [path for path in sorted(paths) if is_gguf(path) and is_projector(path.rpartition("/")[2])]
    return matching(ggufs, include, quantization)


def matching(paths: Iterable[str], include: str | None, quantization: str | None = None) -> list[str]:
    """Returns the paths that match a pattern or a quantization, in their order. Returns all paths for neither.

    Case counts, unless nothing matches exactly: `*f16*` does not match BF16.
    """
    paths = list(paths)
    if quantization is not None:
        return [path for path in paths if quantization_of(path).lower() == quantization.lower()]
    pattern = include or "*"
    exact = [path for path in paths if fnmatchcase(path, pattern)]
    return exact or [path for path in paths if fnmatchcase(path.lower(), pattern.lower())]


# llama.cpp's order for a projector (PR 12402 and later): the precision of its training, then the closest one.
_PRECISIONS = ("bf16", "f16", "fp16", "f32", "fp32", "q8_0")


def projector_for(models: Iterable[str], paths: Iterable[str]) -> str | None:
    """Returns the repo's projector for these files: BF16 before F16 before F32.

    Returns None if there is none, or if several may be meant.
    """
    firsts, all_projectors = list(models), projectors(paths)
    folder = firsts[0].rpartition("/")[0] if firsts else ""
    beside = [path for path in all_projectors if path.rpartition("/")[0] == folder] or all_projectors
    named = [
        path for path in beside if (subject := _subject(path)) and any(subject in first.lower() for first in firsts)
    ]
    candidates = named or [path for path in beside if not _subject(path)] or beside
    for precision in _PRECISIONS:
        fitting = [path for path in candidates if quantization_of(path).lower() == precision]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return candidates[0] if len(candidates) == 1 else None


def _subject(path: str) -> str:
    """Returns the model in a projector's name: `gemma-3-4b` for `mmproj-Gemma-3-4B-F16.gguf`. Often empty."""
    stem = re.sub("mmproj", "", model_of(path).rpartition("/")[2], flags=re.IGNORECASE).strip("-._")
    quantization = quantization_of(path)
    stem = stem.removesuffix(quantization) if quantization else stem
    return re.sub(r"^(model|projector)$", "", stem.strip("-._").lower())


def model_of(path: str) -> str:
    """Returns the path without `.gguf` and shard number, which all shards of a model share."""
    match = _SHARD.match(path)
    return match["stem"] if match else (path[:-5] if is_gguf(path) else path)


def shard_of(path: str) -> tuple[int, int] | None:
    """Returns (number from 1, count), or None for a file that is no shard."""
    match = _SHARD.match(path)
    return (int(match["no"]), int(match["count"])) if match else None


def shards(first: Path) -> list[Path]:
    """Returns all files of a first shard, in order, or the file itself if it is no shard."""
    match = _SHARD.match(first.name)
    if match is None:
        return [first]
    stem, count, suffix = match["stem"], int(match["count"]), match["suffix"]
    return [first.with_name(f"{stem}-{no:05d}-of-{count:05d}{suffix}") for no in range(1, count + 1)]


def is_projector(name: str) -> bool:
    """Tells whether a file name is that of a multimodal projector, such as `mmproj-BF16.gguf`."""
    return "mmproj" in name.lower()


_HEAD = re.compile(r"(?:^|[-_.])mtp(?:[-_.]|$)", re.IGNORECASE)


def is_prediction_head(path: str) -> bool:
    """Tells whether a file name is that of a multi-token prediction head, such as `mtp-Q8_0.gguf`."""
    return is_gguf(path) and _HEAD.search(path.rpartition("/")[2]) is not None


def quantization_of(path: str) -> str:
    """Returns the quantization in a file's name, as written there. Returns "" if there is none."""
    stem = model_of(path).rpartition("/")[2]
    match = _QUANTIZATION.search(stem)
    return match[1] if match else ""


def choose(paths: Iterable[str], include: str | None, quantization: str | None) -> list[str]:
    """Returns the model files that match a pattern (of an entry) or a quantization, sorted."""
    return matching(filter(is_model, sorted(paths)), include, quantization)


def by_model(paths: Iterable[str]) -> dict[str, list[str]]:
    """Groups shards by model, in order."""
    models: dict[str, list[str]] = {}
    for path in sorted(paths):
        models.setdefault(model_of(path), []).append(path)
    return models


def check_shards(stem: str, files: Iterable[str]) -> None:
    """Raises StoreError if a shard is missing."""
    numbered = [shard for path in files if (shard := shard_of(path)) is not None]
    if numbered:
        count = numbered[0][1]
        if numbered != [(number, count) for number in range(1, count + 1)]:
            raise StoreError(f"{stem}: the Hub has {len(numbered)} of {count} shards: the upload is not complete.")
