"""Keyboard input of the chat: lines with history, and pasted or multi-line text as one message."""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

LEAVE_HINT = "Ctrl-D or /bye leaves."
_MARK = '"""'


class DroppedLineError(Exception):
    """Raised by Ctrl-C at a line that holds text."""


class LineReader(Protocol):
    """Reads one line. Raises EOFError, KeyboardInterrupt for an empty line, or DroppedLineError."""

    def __call__(self, prompt: str) -> str: ...


def line_reader(history: Path | None) -> LineReader:
    """Returns a reader, with editing and history if the terminal supports them.

    `history` is the user's own file, or None.
    """
    if os.environ.get("TERM") in ("dumb", ""):
        return _plain_line
    return _EditedLine(history)


def _plain_line(prompt: str) -> str:
    return input(prompt)


class _EditedLine:
    def __init__(self, history: Path | None) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, InMemoryHistory
        from prompt_toolkit.key_binding import KeyBindings
        from prompt_toolkit.output import ColorDepth

        keys = KeyBindings()

        @keys.add("c-c")
        def _(event: Any) -> None:
            typed = event.current_buffer.text
            event.app.exit(exception=DroppedLineError() if typed else KeyboardInterrupt(), style="class:aborting")

        # A Ctrl-D that was typed during an answer: Linux turns it into a NUL when the terminal changes its mode
        @keys.add("c-@")
        def _(event: Any) -> None:
            if not event.current_buffer.text:
                event.app.exit(exception=EOFError(), style="class:exiting")

        @keys.add("escape", "enter")
        def _(event: Any) -> None:
            event.current_buffer.insert_text("\n")

        past: Any = InMemoryHistory()
        if history is not None:
            with suppress(OSError):
                history.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(history, os.O_CREAT | os.O_APPEND, 0o600))
                past = FileHistory(str(history))
        depth = ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None
        self._session: PromptSession[str] = PromptSession(
            history=past,
            key_bindings=keys,
            color_depth=depth,
            prompt_continuation=lambda width, number, wrapped: "... ".rjust(width)[:width],
        )

    def __call__(self, prompt: str) -> str:
        return self._session.prompt(prompt)


def messages(read: LineReader) -> Iterator[str]:
    """Yields complete messages until the user leaves."""
    while True:
        try:
            text = _message(read)
        except EOFError:
            print()
            return
        except DroppedLineError:
            continue
        except KeyboardInterrupt:
            print(f"\n{LEAVE_HINT}" if os.environ.get("TERM") == "dumb" else LEAVE_HINT)
            continue
        if text.strip():
            yield text.strip()


def _message(read: LineReader) -> str:
    line = read("> ")
    if line.lstrip().startswith(_MARK):
        return _until_mark(line.lstrip().removeprefix(_MARK), read)
    while line.endswith("\\"):
        line = f"{line[:-1]}\n{read('. ')}"
    return line


def _until_mark(line: str, read: LineReader) -> str:
    lines = [line]
    while not lines[-1].rstrip().endswith(_MARK):
        lines.append(read(". "))
    lines[-1] = lines[-1].rstrip().removesuffix(_MARK)
    return "\n".join(lines)


@contextmanager
def type_ahead_kept() -> Iterator[None]:
    """Keeps text that is typed during an answer for the next message, after Ctrl-C too."""
    try:
        before = termios.tcgetattr(sys.stdin.fileno())
    except (termios.error, OSError, ValueError):
        yield
        return
    changed = list(before)
    changed[3] |= termios.NOFLSH
    termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, before)
