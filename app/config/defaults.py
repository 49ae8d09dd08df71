"""The setting `defaults`: keys that every entry gets unless it has its own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from app.config.model_entry import FILE_KEYS, AttachedEntry, LocalEntry
from app.config.path_flags import anchored
from app.config.short_forms import as_mapping

# Keys that identify an entry
_OWN = {"url": "it makes an entry an attached server", "aliases": "an alias means one model"}
_SOURCES, _PATTERNS = ("path", "repo", "package"), ("include", "quantization")
# Of `speculation`; the rest goes with a mode
_POLICIES = ("on_inert", "force", "on_logprobs")
_PROBES: tuple[tuple[type[BaseModel], dict[str, Any]], ...] = (
    (LocalEntry, {"target": {"path": "x"}, "draft": {"path": "x"}}),
    (AttachedEntry, {"url": "http://x"}),
)


class WithDefaults(NamedTuple):
    """An entry merged with `defaults`. `inherited` are the keys from there, `env.NAME` for a part of `env`."""

    entry: dict[str, Any]
    inherited: tuple[str, ...]


def with_defaults(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> WithDefaults:
    """Merges mappings by key and replaces other values. Null removes a key.

    Skips keys that this kind of entry does not have.
    """
    known = AttachedEntry.model_fields if "url" in entry else LocalEntry.model_fields
    whole = {key: value for key, value in entry.items() if value is not None or key not in known}
    inherited: list[str] = []
    for key, default in defaults.items():
        if key not in known or default is None or (key in entry and entry[key] is None):
            continue
        if key in FILE_KEYS:
            default = as_mapping(default)
        if key not in entry:
            # A draft's device, say, is for entries that have a draft
            if key not in FILE_KEYS or not isinstance(default, Mapping) or _names_files(default):
                whole[key] = default
                inherited.append(key)
            continue
        own, default = _fitting(key, entry[key], default)
        if isinstance(own, Mapping) and isinstance(default, Mapping):
            whole[key], parts = _merged(own, default)
            inherited += [f"{key}.{part}" for part in parts]
    return WithDefaults(whole, tuple(inherited))


def absolute(defaults: Mapping[str, Any], anchor: Callable[[str], str]) -> dict[str, Any]:
    """Returns the defaults with absolute paths, for entries that are added after the start."""
    whole = {**defaults}
    if isinstance(args := whole.get("args"), list | tuple):
        whole["args"] = list(anchored([str(arg) for arg in args], anchor))
    for key in FILE_KEYS:
        part = as_mapping(whole.get(key))
        if isinstance(part, dict) and isinstance(part.get("path"), str):
            whole[key] = {**part, "path": anchor(part["path"])}
    return whole


def _fitting(key: str, own: Any, default: Any) -> tuple[Any, Any]:
    """Returns both as mappings if possible, the default without what the entry's own value excludes."""
    if key in FILE_KEYS:
        own = as_mapping(own)
        if isinstance(own, Mapping) and isinstance(default, Mapping) and _names_files(own):
            # Not a mixture of two sources; a pattern alone is for repos without one
            open_ = not _names_files(default) and not any(part in own for part in ("path", *_PATTERNS))
            out = () if open_ else (*_SOURCES, *_PATTERNS)
            default = {part: value for part, value in default.items() if part not in out}
    elif key == "speculation":
        own, default = ({**value} if isinstance(value, Mapping) else {"mode": value} for value in (own, default))
        if "mode" in own:
            default = {part: value for part, value in default.items() if part in _POLICIES}
    return own, default


def _merged(own: Mapping[str, Any], default: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    whole = {key: value for key, value in own.items() if value is not None or key not in default}
    inherited = []
    for key, value in default.items():
        if key not in own:
            whole[key] = value
            inherited.append(key)
        elif isinstance(own[key], Mapping) and isinstance(value, Mapping):
            whole[key], parts = _merged(own[key], value)
            inherited += [f"{key}.{part}" for part in parts]
    return whole, inherited


def _names_files(part: Mapping[str, Any]) -> bool:
    return any(key in part for key in _SOURCES)


def errors_in(defaults: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields pydantic's errors for each key by itself, placed under `defaults`."""
    for key, value in defaults.items():
        if key in _OWN:
            words = f"belongs to each entry: {_OWN[key]}"
            yield {"loc": ("defaults", key), "type": "value_error", "ctx": {"error": words}, "input": value}
            continue
        probes = [(model, rest) for model, rest in _PROBES if key in model.model_fields]
        if not probes:
            yield {"loc": ("defaults", key), "type": "extra_forbidden", "input": value}
        if value is None or not probes:
            continue
        model, rest = probes[0]
        if key in FILE_KEYS and isinstance(value, Mapping) and not _names_files(value):
            value = {"repo": "any/repo", **value}
        try:
            model.model_validate({**rest, key: value})
        except ValidationError as errors:
            for error in errors.errors():
                if error["loc"][:1] == (key,):
                    yield {**error, "loc": ("defaults", *error["loc"])}
