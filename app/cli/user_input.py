"""Questions to a person or a pipe: a choice by number or name, and a prompt for a model.

It imports no HTTP client: `run` asks before it starts a gateway, and imports the client meanwhile.
"""

from __future__ import annotations

import sys
from typing import Literal

from app.errors import UpstreamError
from app.terminal import is_terminal, say

# Exit codes: every answer complete, one failed, Ctrl-C
Outcome = Literal[0, 1, 130]


def choose_name(what: str, names: list[str]) -> str:
    """Asks for one of several, by number or name."""
    for number, name in enumerate(names, 1):
        say(f"{number:>3}  {name}")
    while True:
        try:
            typed = input(f"Which {what}? [1] ").strip() or "1"
        except (EOFError, KeyboardInterrupt):
            print()
            raise UpstreamError(f"No {what} was chosen.") from None
        if typed in names:
            return typed
        if typed.isdecimal() and 1 <= int(typed) <= len(names):
            return names[int(typed) - 1]
        say(f"Unknown choice {typed}; give a number from 1 to {len(names)}, or a name.")


def question(prompt: str | None) -> str:
    """Returns the prompt, after piped input. Raises UpstreamError if both are empty."""
    piped = "" if sys.stdin is None or is_terminal(sys.stdin) else _read_all()
    text = "\n\n".join(part for part in (piped.rstrip("\n"), prompt) if part)
    if not text.strip():
        raise UpstreamError("There is nothing to ask: stdin is empty. Give a PROMPT, or type in a terminal.")
    return text


def _read_all() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UpstreamError("stdin is not UTF-8 text.") from None
    except (OSError, ValueError):  # closed
        return ""
