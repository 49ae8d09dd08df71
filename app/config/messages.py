"""What is wrong with a setting, and what would be right, in words. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from app.config.model_entry import FILE_KEYS, AttachedEntry, DraftFiles, Files, LocalEntry
from app.config.request_filters import Filters

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
_PATTERN_EXAMPLES = {
    "url": "http://127.0.0.1:9001",
    "repo": "unsloth/GLM-4.7-GGUF",
    "package": "a Python package's name",
    "[key]": "GGML_CUDA_NO_PINNED",  # of an entry's env
}


def problem(where: str, error: Mapping[str, Any], settings: type[BaseModel]) -> str:
    """One of pydantic's errors on `settings` as a line; `where` is the place that the value stands in."""
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{where}: no such key{near(str(loc[-1]), _known_keys(loc, settings))}"
    if kind == "literal_error":
        return f"{where}: must be one of {context['expected']}, not {error['input']!r}"
    if kind in ("model_type", "model_attributes_type", "dict_type", "union_tag_not_found"):
        shape = "such as {path: models/tiny.gguf}" if loc[-1] in FILE_KEYS else "of keys and values"
        return f"{where}: must be a mapping {shape}"
    if kind == "string_pattern_mismatch":
        return f"{where}: {error['input']!r} must look like {_PATTERN_EXAMPLES.get(str(loc[-1]), context['pattern'])}"
    if kind == "value_error":
        return f"{where}: {context['error']}"
    words = _WORDS.get(kind) or error["msg"].replace("Input should be", "must be")
    secret = loc[:1] == ("api_keys",) or loc[-1:] == ("api_key",)
    actual = "" if secret or kind == "missing" or isinstance(error["input"], dict) else f", not {error['input']!r}"
    return f"{where}: {words}{actual}"


def near(name: str, known: list[str]) -> str:
    """The end of a sentence on a name that is not known."""
    match = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {match[0]}?" if match else f"; known are {', '.join(known)}"


def _known_keys(loc: tuple[int | str, ...], settings: type[BaseModel]) -> list[str]:
    """The keys that the mapping around `loc` takes."""
    model = settings
    for part in loc[:-1]:
        if part in ("local", "attached"):
            model = LocalEntry if part == "local" else AttachedEntry
        elif part in FILE_KEYS:
            model = DraftFiles if part == "draft" else Files
        elif part == "request":
            model = Filters
    return sorted(model.model_fields)
