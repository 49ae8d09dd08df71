"""Finds the settings files, `tandem.yaml` and `.env`, and reads the latter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.config.suggestions import FILES, nearest
from app.errors import ConfigError

PREFIX = "TANDEM_"
FILE_NAME = "tandem.yaml"
# As some tools and people spell it
OTHER_NAME = "tandem.yml"


def expanded(path: Path) -> Path:
    """Expands a leading `~`. Raises ConfigError if the user has no home folder, as in containers."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError([f"{path}: there is no such home folder; write the path out, or set HOME"]) from None


def expanded_folder(path: Path) -> Path:
    """Returns the absolute path of a folder from the command line. Raises ConfigError if it is missing."""
    folder = expanded(path).absolute()
    if not folder.is_dir():
        raise ConfigError([f"{path}: there is no such folder"])
    return folder


def read_dotenv(path: Path) -> dict[str, str]:
    """Reads the variables of a `.env`, none if the file is missing. Raises ConfigError."""
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # late: it takes 15 ms, and most folders have no such file

    try:
        return {name: value for name, value in dotenv_values(path, encoding="utf-8-sig").items() if value is not None}
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None


def find_file(explicit: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Returns the named settings file, else that of the working folder, else None. Raises ConfigError."""
    named = explicit or (Path(value) if (value := environment.get(f"{PREFIX}CONFIG")) else None)
    if named is not None:
        named = expanded(named)
        if not named.is_file():
            source = "--config" if explicit else f"{PREFIX}CONFIG"
            raise ConfigError([f"{source}: there is no file {named}{_beside(named)}"])
        return named.absolute()
    there = [path for name in (FILE_NAME, OTHER_NAME) if (path := Path.cwd() / name).is_file()]
    if len(there) > 1:
        raise ConfigError([f"{there[0]} and {there[1]} are both there; remove one, or name one with --config"])
    return there[0] if there else None


def _beside(missing: Path) -> str:
    """Returns a hint at a similar file, or an empty text."""
    if missing.is_dir():
        missing = missing / FILE_NAME
    try:
        names = [path.name for path in missing.parent.iterdir() if path.is_file()]
    except OSError:
        return ""
    name = missing.name if missing.name in names else nearest(missing.name, names, FILES)
    return f"; did you mean {missing.parent / name}?" if name else ""
