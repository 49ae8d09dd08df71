"""Amends the tools of a chat: which may be called, and `functions`, their form of 2023. Pure.

llama-server (b11434) reads `tool_choice` only if it is a string, and ignores `functions`.
"""

from __future__ import annotations

from typing import Any

from app.errors import InvalidBodyError
from app.relay.request.body import Routing

Fields = dict[str, Any]


def legacy_functions(functions: Any, choice: Any, *, tools_too: bool) -> Fields:
    """Converts `functions` and `function_call` to `tools` and `tool_choice`. Raises InvalidBodyError."""
    if not isinstance(functions, list) or not all(isinstance(function, dict) for function in functions):
        raise InvalidBodyError("'functions' must be a list of objects.", param="functions")
    if not functions:
        raise InvalidBodyError("'functions' is empty; leave it out.", param="functions")
    if tools_too:
        raise InvalidBodyError("'functions' is the older form of 'tools'; send one of them.", param="functions")
    fields: Fields = {
        "tools": [{"type": "function", "function": function} for function in functions],
        # Their answers have room for one call
        "parallel_tool_calls": False,
    }
    if choice in (None, "auto", "none"):
        return fields | ({"tool_choice": choice} if choice else {})
    if not isinstance(choice, dict) or not isinstance(choice.get("name"), str):
        words = '\'function_call\' must be "auto", "none" or {"name": <the function>}.'
        raise InvalidBodyError(words, param="function_call")
    return fields | {"tool_choice": {"type": "function", "function": {"name": choice["name"]}}}


def refuse_unknown_function(functions: Any, choice: Any) -> None:
    """Raises InvalidBodyError if `function_call` names a function that is not among `functions`."""
    name = choice.get("name") if isinstance(choice, dict) else None
    listed = functions if isinstance(functions, list) else []
    known = [function.get("name") for function in listed if isinstance(function, dict)]
    if isinstance(name, str) and known and name not in known:
        message = f"'function_call' names '{name}', which is not among the functions."
        raise InvalidBodyError(message, param="function_call")


def without_nulls(tools: Any) -> Any:
    """Drops null fields of tools and of their functions. Schemas stay unchanged."""
    if not isinstance(tools, list):
        return tools
    return [_without_nulls(tool) for tool in tools]


def _without_nulls(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    rest = {name: value for name, value in tool.items() if value is not None}
    function = rest.get("function")
    if isinstance(function, dict):
        rest["function"] = {name: value for name, value in function.items() if value is not None}
    return rest


def chosen(tools: Any, choice: Any) -> Fields:
    """The fields with which an engine that reads only strings calls no other tool than `choice` allows.

    Raises InvalidBodyError for an invalid choice.
    """
    names, mode = _allowed(choice)
    listed = tools if isinstance(tools, list) else []
    known = {name for tool in listed if isinstance(name := _name_of(tool), str)}
    for name in names:
        if name not in known:
            message = f"'tool_choice' names '{name}', which is not among the tools."
            raise InvalidBodyError(message, param="tool_choice")
    allowed = set(names)
    return {"tools": [tool for tool in listed if _is_one_of(tool, allowed)], "tool_choice": mode}


def tool_use(fields: Routing) -> bool | None:
    """Whether a tool must be called; None if none may be, without tools or by the choice."""
    if bytes(memoryview(fields.tools)[:2]).strip() in (b"nu", b"[]"):
        return None
    choice = bytes(fields.tool_choice)
    return None if choice == b'"none"' else choice not in (b"null", b'"auto"')


def _allowed(choice: Any) -> tuple[list[str], str]:
    """The names of allowed tools, and the string for the engine."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "function":
        name = _name_of(choice) or choice.get("name")
        if isinstance(name, str):
            return [name], "required"
    if kind == "allowed_tools":
        allowed = choice.get("allowed_tools", choice)
        names = [_name_of(tool) for tool in allowed.get("tools") or []] if isinstance(allowed, dict) else []
        mode = allowed.get("mode", "auto") if isinstance(allowed, dict) else None
        if names and all(isinstance(name, str) for name in names) and mode in ("auto", "required"):
            return [str(name) for name in names], mode
    raise InvalidBodyError(
        '\'tool_choice\' must be "auto", "none", "required", '
        '{"type": "function", "function": {"name": ...}} or a list of allowed tools.',
        param="tool_choice",
    )


def _is_one_of(tool: Any, names: set[str]) -> bool:
    return isinstance(name := _name_of(tool), str) and name in names


def _name_of(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None
