"""Tools and their calls in the format of chat completions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.api.translated.fields import Fields, wrong
from app.api.translated.places import PlacedObject

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


def function_tool(
    tool: Fields, name: str, parameters: dict[str, Any] | None, *, schema: str = "parameters"
) -> dict[str, Any]:
    """Returns the chat tool of a function. `tool` may have `description`, `strict` and `schema`."""
    function: dict[str, Any] = PlacedObject({"name": name}, tool.place)
    if description := tool.text("description"):
        function["description"] = description
    function["parameters"] = PlacedObject(parameters or NO_PARAMETERS, tool.where(schema))
    if (strict := tool.flag("strict")) is not None:
        function["strict"] = strict
    return PlacedObject({"type": "function", "function": function}, tool.place)


def refuse_other_callers(tool: Fields) -> None:
    """Raises InvalidBodyError for a tool that only programs of the service may call."""
    if (callers := tool.texts("allowed_callers")) and "direct" not in callers:
        raise tool.wrong("allowed_callers", "is not supported: only the model calls tools; allow direct")


def only(tools: Sequence[dict[str, Any]], names: Sequence[str], place: str) -> list[dict[str, Any]]:
    """Returns the chat tools of these names, since every engine supports leaving out the others.

    Raises InvalidBodyError for an unknown name.
    """
    by_name = {tool["function"]["name"]: tool for tool in tools}
    for name in names:
        if name not in by_name:
            raise wrong(place, f"names '{name}', which is not among the tools")
    kept = frozenset(names)
    return [tool for name, tool in by_name.items() if name in kept]


def call(item: Fields, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Returns the chat call of an item or block."""
    function = {"name": name, "arguments": arguments}
    return PlacedObject({"id": call_id, "type": "function", "function": function}, item.place)


def arguments_of(item: Fields, name: str) -> str:
    """Returns the JSON text of a call's arguments, `{}` if missing.

    Raises InvalidBodyError if it is not an object.
    """
    text = item.text(name) or ""
    if not text.strip():
        return "{}"
    if not isinstance(read_json(text), dict):
        raise item.wrong(name, "must be a JSON object as text")
    return text


def read_json(text: str) -> Any:
    """Returns the value, or None if the text is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
