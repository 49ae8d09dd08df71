"""Finds patterns of a JSON schema for which llama-server makes no grammar, so that it allows every text. Pure.

The rules are from b11434's `json-schema-to-grammar.cpp`, compared with runs of it. Malformed patterns are not reported:
the engine refuses them itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_HEX = {"x": 2, "u": 4, "U": 8}
_AS_WRITTEN = frozenset('trn\\"[]-')
# Escaped in patterns, plain in a grammar's literals
_PUNCTUATION = frozenset("^$.[]()|{}*+?")
_HOLDS_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_IS_SCHEMA = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "prefixItems"),
    *("anyOf", "oneOf", "allOf"),
)
_REPEAT = re.compile(r"\{(\d+|\d*,\d*)\}")
MOST_NESTED = 100
# llama-server makes no grammar of deeper schemas
_DEEPEST = 64


def ignored_patterns(schema: Any, place: str = "") -> Iterator[tuple[str, str, str]]:
    """Yields each pattern that would not be enforced: its place, the pattern, and the unsupported part."""
    for steps, pattern in _patterns(schema, (place,)):
        if (reason := no_grammar(pattern)) is not None:
            yield f"{''.join(steps)}.pattern", pattern, reason


def _patterns(schema: Any, steps: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields each pattern and its place in steps, since a joined place would be copied for every schema below it."""
    if not isinstance(schema, dict) or len(steps) > 1 + 2 * _DEEPEST:
        return
    if isinstance(pattern := schema.get("pattern"), str):
        yield steps, pattern
    for name in _HOLDS_SCHEMAS:
        if isinstance(held := schema.get(name), dict):
            for key, value in held.items():
                yield from _patterns(value, (*steps, f".{name}.", key))
    for name in _IS_SCHEMA:
        held = schema.get(name)
        for i, value in enumerate(held if isinstance(held, list) else ()):
            yield from _patterns(value, (*steps, f".{name}", f"[{i}]"))
        yield from _patterns(held, (*steps, f".{name}", ""))


def no_grammar(pattern: str) -> str | None:
    """The unsupported part of a pattern, to follow `it has`; None if the pattern is enforced."""
    if len(pattern) < 2 or not (pattern.startswith("^") and pattern.endswith("$")):
        return "no ^ at its beginning or no $ at its end"
    inner, at, depth = pattern[1:-1], 0, 0
    while at < len(inner):
        character = inner[at]
        if character == "\\":
            length = _escape(inner, at, within_class=False)
            if length is None:
                return f"the escape {inner[at : at + 2]}"
            at += length
        elif character == "[":
            end = _end_of_class(inner, at)
            if isinstance(end, str):
                return f"the escape {end} in a class"
            at = end
        elif character == "(":
            if inner.startswith("(?", at) and not inner.startswith("(?:", at):
                return f"the group {inner[at : at + 3]}"
            depth += 1
            if depth > MOST_NESTED:
                return f"groups nested more than {MOST_NESTED} deep"
            at += 3 if inner.startswith("(?:", at) else 1
        elif character == "{":
            if (repeat := _REPEAT.match(inner, at)) is None:
                return "a { that begins no number of times"
            at = repeat.end()
        elif character in "^$":
            return f"a {character} within"
        elif character in "]}":
            return f"a {character} that closes nothing"
        else:
            depth -= character == ")"
            at += 1
    return None


def _escape(text: str, at: int, *, within_class: bool) -> int | None:
    """The length of an escape; None if grammars lack it. A backslash at the end is left to the engine."""
    following = text[at + 1 : at + 2]
    if not following:
        return 1
    if (digits := _HEX.get(following)) is not None:
        return 2 + digits if re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text[at + 2 : at + 2 + digits]) else None
    return 2 if following in _AS_WRITTEN or (not within_class and following in _PUNCTUATION) else None


def _end_of_class(text: str, at: int) -> int | str:
    """The index after the closing bracket, or the escape that grammars lack."""
    at += 1
    while at < len(text) and text[at] != "]":
        if text[at] == "\\":
            length = _escape(text, at, within_class=True)
            if length is None:
                return text[at : at + 2]
            at += length
        else:
            at += 1
    return at + 1
