"""Formats a line of a settings file with a caret below a column, secrets hidden. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from unicodedata import east_asian_width

# Characters of the line that are shown; a file may be JSON on one line.
_WIDTH = 100
_ELLIPSIS = "..."
# For a file that cannot be parsed, so that secrets are found by their look only
_KEY = re.compile(r"(?:key|keys|token|secret|password)[\"']?\s*[:=]\s*(?!env:)([^\s}][^}]*)", re.IGNORECASE)


def excerpt(line: str, number: int, column: int, secrets: Iterable[tuple[int, int]] | None = None) -> str:
    """Returns two lines: the text behind its number, and a caret under `column`, which counts from 1.

    `secrets` are spans of the line, from 0, that are hidden. Without them, text that looks like a secret is.
    """
    shown = list(line)
    if secrets is None:
        secrets = [match.span(1) for match in _KEY.finditer(line)]
    for start, end in secrets:
        for at in range(start, min(end, len(shown))):
            shown[at] = "*"
    text = "".join(char if char.isprintable() else " " for char in shown)
    start = max(0, min(column - 1 - _WIDTH // 2, len(text) - _WIDTH))
    end = start + _WIDTH
    before = (_ELLIPSIS if start else "") + text[start : column - 1]
    after = text[max(start, column - 1) : end] + (_ELLIPSIS if len(text) > end else "")
    margin = f"    {number} | "
    below = " " * (len(margin) - 2) + "| " + " " * _columns(before)
    return f"{margin}{before}{after}".rstrip() + f"\n{below}^"


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
