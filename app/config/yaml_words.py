"""Rewrites PyYAML's errors, which name tokens and nodes, for users who write a settings file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from yaml.error import Mark, MarkedYAMLError

from app.config.suggestions import did_you_mean

_BACKSLASH = (
    "in double quotes a backslash begins an escape; use single quotes, or none. "
    r"A path of Windows, C:\Users\me, is /mnt/c/Users/me under WSL"
)
_OPEN = "what opens {where} is not closed, or a comma is missing"
_KEYS = "indent keys that belong together alike, and put a value that holds `: ` in quotes"
# PyYAML's error -> message; the first match counts. `{name}` is what it names, `{where}` is the place.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"unknown escape character|escape sequence of \d+ hexadecimal", _BACKSLASH),
    (r"found character '\\t'", "a tab; indent with spaces"),
    (r"found character '(.)'", "a value cannot begin with {name}; put it in quotes"),
    (r"alphabetic or numeric|chomping or indentation", "*, &, > and | begin something else; put the value in quotes"),
    (r"unexpected end of stream|expected the node content, but found '<stream end>'", _OPEN),
    (r"expected ',' or '[\]}]'", _OPEN),
    (r"expected the node content, but found '(.+)'", "{name} stands where a value belongs; put the value in quotes"),
    (r"mapping values are not allowed", f"a colon too many; {_KEYS}"),
    (r"could not find expected ':'", "a key without a colon; write `key: value`"),
    (r"expected <block end>, but found '<scalar>'", "text behind the end of a value; put all of it in quotes"),
    (r"expected <block end>, but found '([\]}])'", "{name} closes what nothing opens"),
    (r"expected <block end>, but found '[-?]'", "keys and list items side by side; one of them belongs further in"),
    (r"expected <block end>", f"the indentation fits nothing above; {_KEYS}"),
    (r"sequence entries are not allowed", "a list's items begin in lines of their own; or write [one, two]"),
    (r"found undefined alias '(.*)'", "there is no anchor &{name} above{meant}"),
    (r"constructor for the tag '(.*)'", "the tag {name} has no meaning here; put the value in quotes"),
    (r"for merging", "<< takes a mapping or a list of mappings, such as `<<: *base` or `<<: [*a, *b]`"),
    (r"found another document", "--- begins a second document; the settings are one"),
    (r"unhashable key", "a key is a word; a value that begins with a bracket or a brace belongs in quotes"),
)  # fmt: skip


def in_words(error: MarkedYAMLError, anchors: Iterable[str] = ()) -> tuple[str, Mark | None]:
    """Returns the message and its place. `anchors` are those of the file."""
    said = str(error.problem or error.context or "it cannot be read")
    for pattern, words in _WORDS:
        if match := re.search(pattern, said):
            name = next((group for group in match.groups() if group), "")
            opened = error.context_mark
            where = "above" if opened is None else f"in line {opened.line + 1}"
            text = words.format(name=name, where=where, meant=did_you_mean(name, anchors)) if "{" in words else words
            return text, opened if "end of stream" in said and opened else error.problem_mark or opened
    return said, error.problem_mark or error.context_mark
