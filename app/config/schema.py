"""Makes the JSON schema of tandem.yaml, for editors and other programs. Pure.

The models of the settings are its source. `schema_forms.py` has the forms that pydantic cannot derive.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from app.config.model_entry import FILE_KEYS
from app.config.schema_forms import DURATION, NAME, NULL, files, speculation, tidy
from app.config.settings import Settings

SCHEMA_NAME = "tandem.schema.json"
# Keys of an entry that `defaults` may not hold
_OF_ENTRIES_ALONE = ("url", "aliases")
# YAML 1.2, which editors read, has no `on`; the gateway reads YAML 1.1
_SWITCH = {"title": "on or off", "anyOf": [{"type": "boolean"}, {"enum": ["on", "off", "yes", "no"]}]}


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return {**_SWITCH}


def tandem_schema() -> dict[str, Any]:
    """Returns the schema for `json.dumps`. Each key has its description, default and example."""
    schema = tidy(Settings.model_json_schema(schema_generator=_Generator))
    parts = schema.pop("$defs")
    schema["patternProperties"] = {"^x-": {"description": "Holds YAML anchors only."}}
    schema["properties"]["models"] |= {"additionalProperties": {"$ref": "#/$defs/Entry"}, "propertyNames": NAME}
    schema["properties"]["defaults"] = {"$ref": "#/$defs/Defaults", **_said_of(schema["properties"]["defaults"])}
    # Required keys are known only without `defaults`, which may fill them in
    whole_files: dict[str, Any] = {key: {"$ref": "#/$defs/WholeFiles"} for key in FILE_KEYS}
    whole_files["target"] = {"not": NULL, **whole_files["target"]}
    whole = {"anyOf": [{"required": ["target"]}, {"required": ["url"]}], "properties": whole_files}
    schema["if"] = {"not": {"required": ["defaults"]}}
    schema["then"] = {"properties": {"models": {"additionalProperties": whole}}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tandem.yaml",
        **schema,
        "$defs": _defs(parts),
    }


def _defs(parts: dict[str, Any]) -> dict[str, Any]:
    local, attached = _entry(parts.pop("LocalEntry")), _entry(parts.pop("AttachedEntry"))
    policies = parts.pop("Speculation")["properties"]
    del parts["Step"]
    owners = {
        **dict.fromkeys(attached["properties"], "AttachedEntry"),
        **dict.fromkeys(local["properties"], "LocalEntry"),
    }
    shared = {
        key: {"$ref": f"#/$defs/{owner}/properties/{key}"}
        for key, owner in owners.items()
        if key not in _OF_ENTRIES_ALONE
    }
    source = [{"required": [key]} for key in ("path", "repo", "package")]
    return {
        "Entry": {
            "if": {"required": ["url"]},
            "then": {"$ref": "#/$defs/AttachedEntry"},
            "else": {"$ref": "#/$defs/LocalEntry"},
        },
        "LocalEntry": local,
        "AttachedEntry": attached,
        "Defaults": {"type": "object", "properties": shared, "additionalProperties": False},
        **parts,
        "Files": files(parts["Files"]),
        "DraftFiles": files(parts["DraftFiles"]),
        "WholeFiles": {"anyOf": [{"not": {"type": "object"}}, *source]},
        "Duration": DURATION,
        "Speculation": speculation({key: policies[key] for key in ("on_inert", "force", "on_logprobs")}),
    }


def _entry(schema: dict[str, Any]) -> dict[str, Any]:
    """Allows null for each key: it removes the default."""
    properties = {key: _or_null(value) for key, value in schema["properties"].items()}
    properties.get("speculation", {}).pop("default", None)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _or_null(value: dict[str, Any]) -> dict[str, Any]:
    if NULL in value.get("anyOf", ()):
        return value
    said = _said_of(value)
    return {"anyOf": [{key: part for key, part in value.items() if key not in said}, NULL], **said}


def _said_of(value: dict[str, Any]) -> dict[str, Any]:
    return {key: value[key] for key in ("description", "default", "examples") if key in value}
