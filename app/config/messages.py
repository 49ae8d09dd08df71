"""Formats errors in settings: what is wrong, and what would be right. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from app.config.cluster import ClusterSettings
from app.config.model_entry import FILE_KEYS, AttachedEntry, DraftFiles, Files, LocalEntry
from app.config.request_filters import Filters
from app.config.suggestions import did_you_mean

_WORDS = {
    "bool_parsing": "must be on or off",
    "bool_type": "must be on or off",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "tuple_type": "must be a list, such as [one, two]",
    "missing": "is missing",
    "path_type": "must be a path",
}
# pydantic's own wording -> ours
_PLAINER = (
    ("Input should be a valid integer, unable to parse string as an integer", "must be a whole number"),
    ("Input should be a valid number, unable to parse string as a number", "must be a number"),
    ("Input should be", "must be"),
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
    ("greater than", "above"),
    ("less than", "below"),
)
# A number with a thousand's letter, in binary steps as sizes of contexts are named
_ABBREVIATED = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([km])i?\s*", re.IGNORECASE | re.ASCII)
_PATTERN_EXAMPLES = {
    "url": "http://127.0.0.1:9001",
    "repo": "unsloth/GLM-4.7-GGUF",
    "package": "a Python package's name",
    "[key]": "GGML_CUDA_NO_PINNED",  # of an entry's env
}


def in_words(error: Mapping[str, Any], settings: type[BaseModel]) -> str:
    """Returns the message for one of pydantic's errors on `settings`, without its place."""
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        if loc[0] == "models" and loc[2:] == ("attached", "target"):
            return "has both target and url; use one"
        return f"no such key{_instead(loc, settings)}"
    if kind == "literal_error":
        meant = did_you_mean(str(error["input"]), re.findall(r"'([^']*)'", context["expected"]))
        return f"must be one of {context['expected']}, not {error['input']!r}{meant}"
    if kind in ("model_type", "model_attributes_type", "dict_type", "union_tag_not_found"):
        return _must_be_mapping(loc, error["input"])
    if kind == "missing" and loc[-2:] == ("local", "target"):
        return "is missing; add target, or url for an attached server"
    if kind == "string_pattern_mismatch":
        return f"{error['input']!r} must look like {_PATTERN_EXAMPLES.get(str(loc[-1]), context['pattern'])}"
    if kind == "value_error":
        return str(context["error"])
    words = reason(error)
    secret = loc[:1] == ("api_keys",) or loc[-1:] in (("api_key",), ("token",))
    actual = "" if secret or kind == "missing" or isinstance(error["input"], dict) else f", not {error['input']!r}"
    return f"{words}{actual}{_in_full(error) if actual else ''}"


def reason(error: Mapping[str, Any]) -> str:
    """Returns what the value of one of pydantic's errors must be."""
    return _WORDS.get(error["type"]) or plainer(error["msg"])


def plainer(message: str) -> str:
    """Returns pydantic's message in plain words, such as `must be at least 1`."""
    for before, after in _PLAINER:
        message = message.replace(before, after)
    return message


def _must_be_mapping(loc: tuple[int | str, ...], value: Any) -> str:
    if loc == ("models",):
        words = 'must be names with entries below them, such as "tiny: {target: ...}"'
        return f"{words}; here is a list: drop the dashes" if isinstance(value, list) else f"{words}, not {value!r}"
    if loc[-1] in FILE_KEYS:
        return "must be a mapping such as {path: models/tiny.gguf}"
    is_list = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return f"must be a mapping of keys and values{'; here is a list: drop the dashes' if value and is_list else ''}"


def _in_full(error: Mapping[str, Any]) -> str:
    """The number that an abbreviation such as `4k` stands for, where a whole number is wanted."""
    match = _ABBREVIATED.fullmatch(error["input"]) if isinstance(error["input"], str) else None
    if match is None or error["type"] not in ("int_parsing", "int_type"):
        return ""
    number = float(match[1]) * (1024 if match[2] in "kK" else 1024**2)
    return f"; write {number:.0f}" if number.is_integer() else ""


def clash(alias: str, name: str, owner: str, kind: str = "an alias") -> str:
    """Returns the message for two models with one name."""
    return f"'{alias}' is {kind} of '{name}' and a name of '{owner}'; it can mean one only"


def unknown(name: str, known: Sequence[str]) -> str:
    """Returns the end of a message about an unknown name: similar names, or all of them."""
    return did_you_mean(name, known) or f"; known are {', '.join(known)}"


def _instead(loc: tuple[int | str, ...], settings: type[BaseModel]) -> str:
    """Returns a hint at the key that an unknown key may mean, or at the place where it is valid."""
    name, known = str(loc[-1]), _known_keys(loc, settings)
    if len(loc) > 1 and name in settings.model_fields:
        return f" here; {name} stands at the top of the file, not indented"
    if len(loc) == 1 and name in LocalEntry.model_fields:
        return f" at the top of the file; {name} belongs into a model's entry, or into defaults for all of them"
    if loc[2:-1] == ("attached",) and name in LocalEntry.model_fields:
        return f" in an entry with url; {name} belongs to an entry with target"
    if loc[2:-1] == ("local",) and name in ("api_key", "apis"):
        return f" in an entry with target; {name} belongs to an entry with url"
    if loc[2:-1] == ("attached",) and not did_you_mean(name, known):
        return did_you_mean(name, LocalEntry.model_fields) or unknown(name, known)
    return unknown(name, known)


def _known_keys(loc: tuple[int | str, ...], settings: type[BaseModel]) -> list[str]:
    """Returns the valid keys of the mapping around `loc`."""
    if len(loc) == 2 and loc[0] == "defaults":
        return sorted({*LocalEntry.model_fields, *AttachedEntry.model_fields} - {"url", "aliases"})
    model = settings
    for part in loc[:-1]:
        if part in ("local", "attached"):
            model = LocalEntry if part == "local" else AttachedEntry
        elif part in FILE_KEYS:
            model = DraftFiles if part == "draft" else Files
        elif part == "cluster":
            model = ClusterSettings
        elif part == "request":
            model = Filters
    return sorted(model.model_fields)
