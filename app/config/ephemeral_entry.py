"""Validates an entry that exists only in a running gateway's memory, and finds keys that need trust. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.config.defaults import with_defaults
from app.config.files import expanded
from app.config.messages import in_words
from app.config.model_entry import FILE_KEYS, LocalEntry
from app.config.placed_error import THE_KEY, Keys, PlacedError
from app.config.settings import Settings
from app.config.short_forms import as_mapping
from app.config.suggestions import did_you_mean
from app.config.types import check_name
from app.errors import EntryRefusedError

# Keys that an admin key may set, and keys that can run or read anything that the gateway's user can
OPEN_KEYS = ("target", "draft", "mmproj", "ctx_size", "parallel", "speculation", "request", "ttl")
TRUSTED_KEYS = ("args", "env")


@dataclass(frozen=True, slots=True)
class EphemeralEntry:
    """A validated entry. `takes_trust` describes the keys that only the gateway's own user may set."""

    alias: str
    entry: LocalEntry
    takes_trust: tuple[str, ...] = ()


def ephemeral_entry(alias: str, written: Mapping[str, Any], settings: Settings) -> EphemeralEntry:
    """Validates an entry, merged with `defaults`. Relative paths start from `models_dir`.

    Raises EntryRefusedError with every mistake.
    """
    problems = [_unknown(key) for key in written if key not in (*OPEN_KEYS, *TRUSTED_KEYS)]
    try:
        check_name(alias)
    except ValueError as error:
        problems.insert(0, f"alias: {error}")
    known = {key: value for key, value in written.items() if key in LocalEntry.model_fields}
    try:
        entry = LocalEntry.model_validate(with_defaults(known, settings.defaults).entry)
    except ValidationError as error:
        problems += _in_words(error)
    if problems:
        raise EntryRefusedError("; ".join(dict.fromkeys(problems)))
    # Absolute and without `..`, as they are opened later
    entry = entry.with_paths(lambda path: os.path.normpath(settings.models_dir / expanded(Path(path))))
    return EphemeralEntry(alias, entry, tuple(_takes_trust(written, entry, settings.models_dir)))


def _unknown(key: str) -> str:
    if key in LocalEntry.model_fields:
        return f"{key} is for entries of the settings file; one in memory takes {', '.join(OPEN_KEYS + TRUSTED_KEYS)}"
    return f"{key}: no such key{did_you_mean(key, OPEN_KEYS + TRUSTED_KEYS) or _all_keys()}"


def _all_keys() -> str:
    return f"; known are {', '.join(OPEN_KEYS + TRUSTED_KEYS)}"


def _in_words(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, PlacedError):
            for keys, text in cause.problems:
                yield _placed((*item["loc"], *keys), text)
        else:
            whole = {**item, "loc": ("models", "entry", "local", *item["loc"])}
            yield _placed(item["loc"], in_words(whole, Settings))


def _placed(keys: Keys, text: str) -> str:
    place = ".".join(str(key) for key in keys if key != THE_KEY)
    return f"{place}: {text}" if place else text


def _takes_trust(written: Mapping[str, Any], entry: LocalEntry, models_dir: Path) -> Iterator[str]:
    """Yields the trusted keys that the caller has set. Those from `defaults` are the gateway's own."""
    yield from (key for key in TRUSTED_KEYS if written.get(key))
    for key in FILE_KEYS:
        part = as_mapping(written.get(key))
        if isinstance(part, Mapping) and part.get("path") is not None:
            path: Path = getattr(entry, key).path
            if not path.is_relative_to(os.path.normpath(models_dir)):
                yield f"{key}.path outside models_dir ({path})"
