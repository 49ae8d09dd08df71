"""The files that settings stand in, `tandem.yaml` and `.env`: where they are, and what is written in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from app.errors import ConfigError

PREFIX = "TANDEM_"
FILE_NAME = "tandem.yaml"


def expanded(path: Path) -> Path:
    """Raises ConfigError where a leading `~` leads nowhere: a container's user may have no home."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError([f"{path}: there is no such home folder; write the path out, or set HOME"]) from None


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key written twice: the second would silently win."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str | int | float | bool | None):
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is written twice", key_node.start_mark
                )
            seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings as written; none of a file that is empty. Raises ConfigError."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # a SafeLoader
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except yaml.YAMLError as error:
        words = str(error).replace('in "<unicode string>", line', "at line")
        raise ConfigError([f"{path}: is not valid YAML: {' '.join(words.split())}"]) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError([f"{path}: must be a mapping of settings, such as `port: 8000`"])
    strange = [key for key in data if not isinstance(key, str)]
    if strange:
        raise ConfigError([f"{path}: {key}: a setting's name is a word" for key in strange])
    return data


def read_dotenv(path: Path) -> dict[str, str]:
    """Empty where there is no such file; raises ConfigError."""
    if not path.is_file():
        return {}
    try:
        return {name: value for name, value in dotenv_values(path).items() if value is not None}
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None


def find_file(explicit: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The settings file: the one that is named, else that of the working folder, if it is there. Raises ConfigError."""
    named = explicit or (Path(value) if (value := environment.get(f"{PREFIX}CONFIG")) else None)
    if named is not None:
        named = expanded(named)
        if not named.is_file():
            source = "--config" if explicit else f"{PREFIX}CONFIG"
            raise ConfigError([f"{source}: there is no file {named}"])
        return named.absolute()
    default = Path.cwd() / FILE_NAME
    return default if default.is_file() else None
