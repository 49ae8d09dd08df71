"""`import` on the terminal: looks up files, folders and the Hub, and prints or adds the entries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.cli.add_entry import add_entries
from app.cli.check import dialect_at_hand
from app.cli.importer.entry import ImportedEntry, import_line
from app.cli.importer.preset import ImportedPreset, import_preset, router_of
from app.cli.importer.router_folder import models_of
from app.cli.options import print_note
from app.config.model_entry import FILE_KEYS
from app.config.settings import settings_file
from app.errors import NotImportableError, TandemError


def import_words(words: Sequence[str], config: Path | None, *, add: bool) -> None:
    """Prints the entries, or adds them to the settings file. Raises NotImportableError or StoreError."""
    dialect = dialect_at_hand(config)
    preset, folder = router_of(words, dialect)
    imported: ImportedEntry | ImportedPreset
    if preset is None and folder is None:
        imported = import_line(words, dialect, repo_files)
    else:
        text = "" if preset is None else read_preset(preset)
        folder_models = [] if folder is None else models_of(folder)
        name = preset if preset is not None else f"--models-dir {folder}"
        imported = import_preset(words, text, name, dialect, folder_models, repo_files)
    for note in imported.notes:
        print_note(f"{note.key}: {note.text}")
    if add:
        _add(imported, settings_file(config))
    else:
        print(imported.yaml, end="", flush=True)


def read_preset(path: str) -> str:
    """Reads a preset file. Raises NotImportableError."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise NotImportableError(f"--models-preset {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NotImportableError(f"--models-preset {path}: is not UTF-8 text") from None


@lru_cache
def repo_files(repo: str) -> tuple[str, ...] | None:
    """Returns the Hub's list of files, or None if the Hub cannot be reached, after printing the reason."""
    try:
        from app.models.hub.client import Hub  # late: only needed for lines that name a repo

        return tuple(Hub().listing(repo).files)
    except TandemError as error:
        print_note(f"{repo}: its files are unknown: {error}")
        return None


def _add(imported: ImportedEntry | ImportedPreset, file: Path) -> None:
    """Adds all entries or none. Relative paths become absolute if the settings file is in another folder."""
    entries = imported.entries if isinstance(imported, ImportedPreset) else (imported,)
    here = file.parent.is_dir() and file.parent.samefile(Path.cwd())
    written = {entry.name: entry.keys if here else _absolute(entry.keys) for entry in entries}
    most = imported.max_loaded if isinstance(imported, ImportedPreset) else None
    add_entries(file, written, {} if most is None else {"max_loaded": most})
    names = ", ".join(f"'{name}'" for name in written)
    print_note(f"Added {names} to {file}. Next: llama-tandem run {next(iter(written))}")


def _absolute(keys: dict[str, Any]) -> dict[str, Any]:
    whole = dict(keys)
    for key in FILE_KEYS:
        part = whole.get(key)
        if isinstance(part, dict) and isinstance(path := part.get("path"), str) and not path.startswith("~"):
            whole[key] = {**part, "path": str(Path(path).absolute())}
    return whole
