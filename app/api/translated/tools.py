"""Tools and their calls, in the words of chat completions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.api.translated.fields import Fields, wrong
from app.api.translated.places import Placed

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


def function_tool(
    tool: Fields, name: str, parameters: dict[str, Any] | None, *, schema: str = "parameters"
) -> dict[str, Any]:
    """A chat tool of a function; `tool` may have a `description` and `strict`, and its schema in `schema`."""
    function: dict[str, Any] = Placed({"name": name}, tool.place)
    if description := tool.text("description"):
        function["description"] = description
    function["parameters"] = Placed(parameters or NO_PARAMETERS, tool.where(schema))
    if (strict := tool.flag("strict")) is not None:
        function["strict"] = strict
    return Placed({"type": "function", "function": function}, tool.place)


def only(tools: Sequence[dict[str, Any]], names: Sequence[str], place: str) -> list[dict[str, Any]]:
    """The chat tools of these names: leaving out the others is what every engine can do to allow no others.

    Raises InvalidBodyError for a name that is not there.
    """
    by_name = {tool["function"]["name"]: tool for tool in tools}
    for name in names:
        if name not in by_name:
            raise wrong(place, f"names '{name}', which is not among the tools")
    return [tool for name, tool in by_name.items() if name in names]


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def arguments_of(item: Fields, name: str) -> str:
    """The JSON text of a call's arguments, `{}` for none; raises InvalidBodyError where it is no object."""
    text = item.text(name) or ""
    if not text.strip():
        return "{}"
    if not isinstance(read_json(text), dict):
        raise item.wrong(name, "must be a JSON object as text")
    return text


def read_json(text: str) -> Any:
    """None where it is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
