"""Parts of the JSON schema with several forms: files, speculation modes, names. Pure."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from app.config.speculation import AUTO, MODES, NONE, Mode, Option
from app.units import DURATION_PATTERN

# pydantic's names for limits of a value that is converted before validation
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
DURATION: dict[str, Any] = {"type": "string", "pattern": DURATION_PATTERN}
NULL: dict[str, Any] = {"type": "null"}
# As `check_name` has it
NAME: dict[str, Any] = {"pattern": r"^[^-\s,][^\s,]*$"}
# As `files_of` reads them
_PATH = r"^[./~]|\.[gG][gG][uU][fF]$"
_REPO = r"^(hf:)?\w[\w.-]*/\w[\w.-]*(:\w[\w.-]*)?$"
_SOURCES = ("path", "repo", "package")
# Keys of files that do not go together
_EITHER = (*combinations(_SOURCES, 2), ("path", "include"), ("path", "quantization"), ("include", "quantization"))


def tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Removes class names and docstrings, and gives each of several forms its limits."""
    shown: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _LIMITS or ("properties" in schema and key in ("title", "description")):
            continue
        if key == "default" and value is None:
            continue
        if key in ("properties", "$defs"):
            shown[key] = {name: tidy(part) for name, part in value.items()}
        else:
            shown[key] = value if key in ("default", "examples") else _inner(value)
    if "patternProperties" in shown:
        shown["additionalProperties"] = False
    limits = {_LIMITS[key]: schema[key] for key in _LIMITS if key in schema}
    if "anyOf" in shown:
        shown["anyOf"] = [_limited(form, limits) for form in shown["anyOf"]]
        return shown
    return _limited(shown, limits)


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return {"$ref": "#/$defs/Duration"} if value == DURATION else tidy(value)
    return [_inner(item) for item in value] if isinstance(value, list) else value


def _limited(form: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    if form.get("type") not in ("number", "integer"):
        return form
    both = {**form, **limits}
    if both.get("minimum") == both.get("exclusiveMinimum") == 0:
        del both["minimum"]
    return both


def files(mapping: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of files: a text (path or repository) or a mapping."""
    text = {"type": "string", "anyOf": [{"pattern": _PATH}, {"pattern": _REPO}]}
    apart = [{"not": {"required": list(pair)}} for pair in _EITHER]
    return {"anyOf": [text, {**mapping, "allOf": apart}]}


def speculation(policies: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of `speculation`: a mode, a mapping with options, a list of both, or policies alone."""
    names = {"enum": list(MODES)}
    steps = [_step(mode, {}) for mode in MODES.values()]
    alone = {"anyOf": [{"enum": [AUTO, NONE]}, _OFF]}
    chain = {"type": "array", "minItems": 1, "items": {"anyOf": [names, *steps]}}
    return {
        "anyOf": [
            names,
            alone,
            chain,
            *(_step(mode, policies) for mode in MODES.values()),
            _mapping({"mode": {"anyOf": [alone, chain]}, **policies}),
        ]
    }


# `off` for readers of YAML 1.2, and for those of YAML 1.1
_OFF: dict[str, Any] = {"enum": ["off", False]}


def _mapping(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, "additionalProperties": False, **needed}


def _step(mode: Mode, policies: dict[str, Any]) -> dict[str, Any]:
    options = {key: _option(option) for key, option in mode.options.items()}
    return _mapping({"mode": {"const": mode.name}, **options, **policies}, "mode")


def _option(option: Option) -> dict[str, Any]:
    if option.choices:
        return {"enum": list(option.choices)}
    limits = {"minimum": option.low} | ({} if option.high is None else {"maximum": option.high})
    return {"type": "integer" if option.whole else "number", **limits}
