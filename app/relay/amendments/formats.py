"""Amends `response_format`: moves schemas to where llama-server reads them, refuses ignored ones. Pure."""

from __future__ import annotations

from typing import Any

from app.errors import InvalidBodyError
from app.relay.amendments.patterns import ignored_patterns

_TYPES = ("text", "json_object", "json_schema")
# Keys that a schema has and its wrapper does not
_OF_SCHEMAS = frozenset(("type", "properties", "anyOf", "oneOf", "allOf", "$ref", "enum", "const", "items"))


def nested(response_format: Any) -> Any:
    """Moves the schema to `json_schema.schema`. Some clients send it beside `type`, or as `json_schema` itself."""
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return response_format
    wrapper = response_format.get("json_schema")
    if wrapper is None and isinstance(response_format.get("schema"), dict):
        beside = {name: response_format[name] for name in ("name", "strict") if response_format.get(name) is not None}
        return {"type": "json_schema", "json_schema": {"name": "response"} | beside | _schema_of(response_format)}
    if isinstance(wrapper, dict) and wrapper.get("schema") is None and _OF_SCHEMAS & wrapper.keys():
        return {"type": "json_schema", "json_schema": {"name": "response", "schema": wrapper}}
    return response_format


def _schema_of(holder: dict[str, Any]) -> dict[str, Any]:
    return {"schema": holder["schema"]}


def refuse_ignored(response_format: Any) -> None:
    """Raises InvalidBodyError for a format that llama-server would ignore; `response_format` is nested."""
    if not isinstance(response_format, dict) or response_format.get("type") not in _TYPES:
        words = "'response_format' must be an object whose 'type' is text, json_object or json_schema."
        raise InvalidBodyError(words, param="response_format")
    if response_format["type"] != "json_schema":
        return
    wrapper = response_format.get("json_schema")
    schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
    if not isinstance(schema, dict | bool):
        place = "response_format.json_schema.schema"
        raise InvalidBodyError(f"'{place}' is missing; it must be a JSON schema.", param=place)
    if isinstance(wrapper, dict) and wrapper.get("strict") is True:
        refuse_ignored_patterns(schema, "response_format.json_schema.schema")


def refuse_ignored_patterns(schema: Any, place: str) -> None:
    """Raises InvalidBodyError for the first pattern of a strict schema that would not be enforced."""
    for where, pattern, reason in ignored_patterns(schema, place):
        message = (
            f"'{where}' cannot be enforced, as a strict schema has to be: '{pattern}' has {reason}. "
            "Rewrite it (^...$, and classes such as [0-9] for \\d), or leave it out."
        )
        raise InvalidBodyError(message, param=where)


def as_native(response_format: Any) -> dict[str, Any]:
    """The native fields for a text completion, since /v1/completions ignores `response_format`."""
    if response_format["type"] == "text":
        return {}
    if response_format["type"] == "json_schema":
        return {"json_schema": response_format["json_schema"]["schema"]}
    return {"json_schema": response_format.get("schema") or {"type": "object"}}
