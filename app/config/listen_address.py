"""Finds the addresses to listen on before the settings are read, which takes slow imports.

It reads the same sources with the same precedence, and gives up wherever it is not sure. `serve` compares its answer
with the complete settings, so a wrong one costs a moment of listening at the wrong address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from app.config.files import PREFIX, find_file, read_dotenv
from app.errors import ConfigError

# Options of `serve` with a value, and the one without
_WITH_VALUE, _NO_AUTH = ("--host", "--port", "--config"), "--no-auth"
_FIELDS = ("host", "port", "admin_port")
# Names would be looked up, which may take long
_HOST = re.compile(r"[0-9a-fA-F:]*:[0-9a-fA-F:.]*|[0-9.]+|localhost", re.ASCII)
# Without a leading zero, which is octal in YAML
_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_TAGS_OF_HOST = ("tag:yaml.org,2002:str",)
_TAGS_OF_PORT = ("tag:yaml.org,2002:int", *_TAGS_OF_HOST)


class ListenAddress(NamedTuple):
    """The address of the gateway, and the port of `/admin` on loopback, or 0 if it has none of its own."""

    host: str = "127.0.0.1"
    port: int = 8000
    admin_port: int = 0


class ServeOptions(NamedTuple):
    """The options of `serve` with plain values."""

    host: str | None = None
    port: int | None = None
    config: Path | None = None
    no_auth: bool = False


def serve_options(words: Sequence[str]) -> ServeOptions | None:
    """Returns the options in a command line, or None if it holds anything else."""
    try:
        given = _options(words)
    except ValueError:
        return None
    port, config = given.get("port"), given.get("config")
    if port is not None and not _PORT.fullmatch(port):
        return None
    return ServeOptions(
        given.get("host"),
        int(port) if port else None,
        Path(config) if config else None,
        _NO_AUTH in words,
    )


def listen_address(options: ServeOptions) -> ListenAddress | None:
    """Returns the addresses that `serve` with these options listens on, or None if that needs the whole settings."""
    given = {"host": options.host or "", "port": "" if options.port is None else str(options.port)}
    try:
        environment = {**read_dotenv(Path(".env")), **os.environ}
        variables = {field: value for field in _FIELDS if (value := environment.get(f"{PREFIX}{field.upper()}"))}
        file = find_file(options.config, environment)
        own = {field: value for field, value in given.items() if value}
        return _address({**(_of_file(file) if file else {}), **variables, **own})
    except (ConfigError, OSError, ValueError, RecursionError):
        return None


def _options(words: Sequence[str]) -> dict[str, str]:
    """Returns the values of options by name. Raises ValueError for any other word."""
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == _NO_AUTH:
            continue
        value = value if equals else next(rest, "")
        if name not in _WITH_VALUE or not value or value.startswith("-"):
            raise ValueError(word)
        values[name.removeprefix("--")] = value
    return values


def _of_file(path: Path) -> dict[str, str]:
    """Returns the fields at the top of the file. Raises ValueError if they are not plain values."""
    import yaml

    try:
        # The parser in C makes nodes alone, in a thirtieth of the time of a whole reading
        root = yaml.compose(path.read_bytes().decode("utf-8-sig"), yaml.CSafeLoader)
    except (AttributeError, yaml.YAMLError) as error:
        raise ValueError(str(error)) from None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("no mapping")
    values: dict[str, str] = {}
    for key, value in root.value:
        name = key.value
        if name == "<<":
            raise ValueError("a merged mapping may hold the address")
        if name in _FIELDS:
            if name in values or value.tag not in (_TAGS_OF_HOST if name == "host" else _TAGS_OF_PORT):
                raise ValueError(name)
            values[name] = value.value
    return values


def _address(values: Mapping[str, str]) -> ListenAddress:
    """Raises ValueError for a value that needs a closer look."""
    for field, value in values.items():
        if not (_HOST if field == "host" else _PORT).fullmatch(value):
            raise ValueError(field)
    ports = {field: int(value) for field, value in values.items() if field != "host"}
    return ListenAddress(values.get("host", ListenAddress().host), **ports)
