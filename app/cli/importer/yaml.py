"""Formats an entry as a person would write it: one line a key, short mappings in braces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z_./~][\w./~+-]*", re.ASCII)


def as_yaml(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a complete tandem.yaml with these entries."""
    return "models:\n" + "".join(entry_yaml(name, keys) for name, keys in models.items())


def entry_yaml(name: str, keys: Mapping[str, Any]) -> str:
    """Returns lines for `models:`."""
    # As in the README: users know the value from llama-server.
    values = {
        key: ("on" if value else "off") if key == "fit" else _value(value, key != "args") for key, value in keys.items()
    }
    return f"  {_text(name)}:\n" + "".join(f"    {key}: {value}\n" for key, value in values.items())


def _value(value: Any, bare: bool = True) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item, bare) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    # PyYAML's own form of a number: it reads a bare 1e-05 as text
    return _text(value, bare=bare) if isinstance(value, str) else yaml.safe_dump(value).splitlines()[0]


def _text(text: str, *, bare: bool = True) -> str:
    """Returns the bare text if YAML reads it back unchanged, else in double quotes."""
    if bare and _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=True)
    return quoted.removesuffix("\n")
