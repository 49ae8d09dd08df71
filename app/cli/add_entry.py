"""Makes the entry for pulled files: to paste, or added to tandem.yaml with its comments kept."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.config.model_entry import LocalEntry
from app.config.types import check_name
from app.errors import StoreError
from app.models.download.pull_item import PullItem
from app.models.gguf.filenames import model_of


def include_of(item: PullItem, paths: list[str]) -> str:
    """Returns a pattern for exactly these files, in the form of entries."""
    if item.include is not None:
        return item.include
    first = glob.escape(paths[0])
    return first if len(paths) == 1 else f"{model_of(first)}-*"


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A new entry: files of a repo, as patterns. `mmproj` is the pattern of its projector."""

    repo: str
    include: str
    mmproj: str | None = None

    @property
    def parts(self) -> dict[str, dict[str, str]]:
        """Returns the entry's keys."""
        patterns = {"target": self.include} | ({} if self.mmproj is None else {"mmproj": self.mmproj})
        return {key: {"repo": self.repo, "include": pattern} for key, pattern in patterns.items()}


# Names, and the keys of each entry
NewEntries = Mapping[str, Mapping[str, Any]]


def add_entries(file: Path, entries: NewEntries, settings: Mapping[str, Any] | None = None) -> None:
    """Adds entries to the settings file, and creates the file if needed. Raises StoreError without any change.

    `settings` are added at the top if the file lacks them.
    """
    text = with_entries(file, entries, settings)
    try:
        beside = file.with_name(f".{file.name}-{os.getpid()}")
        # Line ends stay as in the file. A byte order mark is removed
        newline = "\r\n" if file.exists() and b"\r\n" in file.read_bytes() else "\n"
        beside.write_text(text, encoding="utf-8", newline=newline)
        if file.exists():
            beside.chmod(file.stat().st_mode)
        beside.replace(file.resolve())
    except OSError as error:
        raise StoreError(f"{file}: cannot be written: {error.strerror}.") from None


def with_entries(file: Path, entries: NewEntries, settings: Mapping[str, Any] | None = None) -> str:
    """Returns the settings file's text with more entries. Raises StoreError if that is impossible."""
    # This library keeps comments, quotes and order; PyYAML does not
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    for alias, entry in entries.items():
        try:
            check_name(alias)
            LocalEntry.model_validate(entry)
        except (ValueError, ValidationError) as error:
            raise StoreError(f"--add {alias}: {error}") from None
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    try:
        read: Any = yaml.load(file.read_text(encoding="utf-8-sig")) if file.exists() else None
        data = {} if read is None else read
        for key, value in (settings or {}).items():
            data.setdefault(key, value)
        models = data.setdefault("models", {})
        if models is None:
            models = data["models"] = {}
        if not isinstance(models, dict):
            raise StoreError(f"{file}: models is not a mapping; nothing was added.")
        for alias, entry in entries.items():
            if alias in models:
                raise StoreError(f"{file}: '{alias}' exists already; nothing was changed.")
            models[alias] = dict(entry)
        text = io.StringIO()
        yaml.dump(data, text)
    except YAMLError as error:
        raise StoreError(f"{file}: is not valid YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error.strerror}.") from None
    return text.getvalue()
