"""What a person, or a pipe, is asked: a choice by number or name, and a question for a model.

Imports no HTTP client: `run` asks before it starts a gateway, and imports what talks to it meanwhile.
"""

from __future__ import annotations

import sys
from typing import Literal

from app.errors import UpstreamError
from app.terminal import is_terminal, say

# How a run ended, as exit codes: all answers came, one failed, Ctrl-C
Outcome = Literal[0, 1, 130]


def pick(what: str, names: list[str]) -> str:
    """Asks for one of them, by its number or its name."""
    for number, name in enumerate(names, 1):
        say(f"{number:>3}  {name}")
    while True:
        try:
            typed = input(f"Which {what}? [1] ").strip() or "1"
        except (EOFError, KeyboardInterrupt):
            print()
            raise UpstreamError(f"No {what} is chosen.") from None
        if typed in names:
            return typed
        if typed.isdecimal() and 1 <= int(typed) <= len(names):
            return names[int(typed) - 1]
        say(f"There is no {typed}; give a number from 1 to {len(names)}, or a name.")


def question(prompt: str | None) -> str:
    """The prompt, behind what is piped in; raises UpstreamError where both are empty."""
    piped = "" if sys.stdin is None or is_terminal(sys.stdin) else _read_all()
    text = "\n\n".join(part for part in (piped.rstrip("\n"), prompt) if part)
    if not text.strip():
        raise UpstreamError("There is nothing to ask: stdin is empty. Give a PROMPT, or type in a terminal.")
    return text


def _read_all() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UpstreamError("stdin is no text in UTF-8.") from None
    except (OSError, ValueError):  # closed
        return ""
