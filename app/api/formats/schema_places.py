"""Finds the place of a schema that llama-server cannot convert to a grammar. It reports only a pointer. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

# Its own text before that of the schema's reader (b11434)
_PARSER = re.compile(
    r"^Unable to generate parser for this template\. Automatic parser generation failed: (?=JSON schema)"
)
_AT = re.compile(r"JSON schema error at #(?P<pointer>\S*?): (?P<reason>.*)", re.DOTALL)
_PATTERN = re.compile(r"Invalid pattern (?P<pattern>.*): (?P<reason>[^:]*)$", re.DOTALL)
_NAMED = re.compile(r"unrecognized type (\S+)|cannot resolve \$ref (\S+?),? ")
_GRAMMAR = re.compile(r"failed to parse grammar")
_NOT_ENFORCED = "is not a usable JSON schema: "


def schema_place(message: str, request: bytes | None) -> tuple[str, str] | None:
    """Returns the place and what is wrong there, or None if the place is unknown."""
    if request is None or not any(pattern.search(message) for pattern in (_AT, _PATTERN, _GRAMMAR)):
        return None
    try:
        body = msgspec.json.decode(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    if _GRAMMAR.search(message):
        return ("grammar", "is not a valid GBNF grammar") if isinstance(body.get("grammar"), str) else None
    schemas = list(_schemas(body))
    if (match := _AT.search(message)) is not None:
        return _at_pointer(schemas, match["pointer"], match["reason"])
    match = _PATTERN.search(message)
    places = (
        place for root, schema in schemas for place in _with_pattern(schema, root, match["pattern"] if match else "")
    )
    place = next(places, None)
    return None if place is None or match is None else (place, f"is not a valid pattern: {match['reason']}")


def without_parser(message: str) -> str:
    """Returns a schema's error without llama-server's text before it, which is about templates."""
    return _PARSER.sub("", message)


def _schemas(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    response_format = body.get("response_format")
    if isinstance(response_format, dict):
        if isinstance(wrapper := response_format.get("json_schema"), dict):
            own = "response_format.json_schema"
            yield (own, wrapper) if wrapper.get("schema") is None else (f"{own}.schema", wrapper["schema"])
        yield "response_format.schema", response_format.get("schema")
    yield "json_schema", body.get("json_schema")
    tools = body.get("tools")
    for i, tool in enumerate(tools if isinstance(tools, list) else ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            yield f"tools[{i}].function.parameters", function.get("parameters")
    functions = body.get("functions")
    for i, function in enumerate(functions if isinstance(functions, list) else ()):
        if isinstance(function, dict):
            yield f"functions[{i}].parameters", function.get("parameters")


def _at_pointer(schemas: list[tuple[str, Any]], pointer: str, reason: str) -> tuple[str, str] | None:
    """Returns the place in the first schema that has the pointer."""
    named = _NAMED.match(f"{reason} ")
    word = (named[1] or named[2]) if named else ""
    for root, schema in schemas:
        place, node = root, schema
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and key in node:
                place, node = f"{place}.{key}", node[key]
            elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                place, node = f"{place}[{key}]", node[int(key)]
            else:
                break
        else:
            names = (node.get("type"), node.get("$ref")) if isinstance(node, dict) else ()
            if node is not None and (not word or word in names):
                return place, f"{_NOT_ENFORCED}{reason}"
    return None


def _with_pattern(schema: Any, place: str, pattern: str) -> Iterator[str]:
    # Steps are joined once, since a joined place would be copied for every schema below it.
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(schema, (place, ()))]
    while waiting:
        node, steps = waiting.pop()
        if isinstance(node, dict):
            if node.get("pattern") == pattern:
                yield f"{_joined(steps)}.pattern"
            waiting += [(value, (f".{key}", steps)) for key, value in reversed(node.items())]
        elif isinstance(node, list):
            waiting += [(value, (f"[{i}]", steps)) for i, value in reversed(list(enumerate(node)))]


def _joined(steps: tuple[Any, ...]) -> str:
    """Joins steps, each of which holds those before it."""
    texts: list[str] = []
    while steps:
        text, steps = steps
        texts.append(text)
    return "".join(reversed(texts))
