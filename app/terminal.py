"""Prints to a terminal: tables, colours, a progress line. Neutralizes control sequences in foreign text.

Any text from a model, a server or a file passes `visible` first.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.containers import Lines
    from rich.table import Table

# The width for output that is no terminal.
_WIDTH = 1000
Style = Literal["bold", "dim", "red", "green", "yellow", "cyan"]
_SGR: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
# C0 except tab and newline, DEL, C1, marks that reorder text, and lone surrogates, which no terminal can encode
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Returns the text with visible control characters: ESC as `␛`, U+202E as `<U+202E>`.

    Newlines and tabs stay. CR LF becomes a newline.
    """
    return _CONTROLS.sub(_shown, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """As `visible`, for a single line: newlines and tabs become blanks."""
    return visible(re.sub(r"\s*\n\s*|\t", " ", text.strip()))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"


def is_terminal(stream: TextIO | None) -> bool:
    """Tells whether a stream is a terminal. A standard stream may be missing or closed."""
    with suppress(ValueError):
        return stream is not None and stream.isatty()
    return False


def in_colour(stream: TextIO | None) -> bool:
    """Tells whether a stream takes escape codes: a terminal that supports them, and no NO_COLOR."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "")


def paint(text: str, *styles: Style, stream: TextIO | None = None) -> str:
    """Adds styles to the text if `stream` (stdout by default) takes escape codes."""
    if not text or not styles or not in_colour(stream or sys.stdout):
        return text
    return f"\033[{';'.join(_SGR[style] for style in styles)}m{text}\033[0m"


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints lines that may hold foreign text, on stdout or `stream`. Wraps at words on a terminal."""
    print(wrapped(visible(text), stream), file=stream or sys.stdout, flush=True)


# The text before the second column of a line, such as a command before its summary
_FIRST_COLUMN = re.compile(r"( *\S+(?: \S+)* {2,})\S")


def wrapped(text: str, stream: TextIO | None = None) -> str:
    """Wraps lines at words for a terminal. Returns them unchanged elsewhere."""
    target = stream or sys.stdout
    if not is_terminal(target):
        return text
    room = columns(target)
    return "\n".join(_broken(line, room) for line in text.split("\n"))


def _broken(line: str, room: int) -> str:
    """Wraps a line. Continuation lines are indented like the second column, or deeper than an indented line."""
    if len(line) <= room:
        return line
    depth = len(line) - len(line.lstrip(" "))
    depth = depth + 2 if depth else 0
    if (column := _FIRST_COLUMN.match(line)) and len(column[1]) <= room // 2:
        depth = len(column[1])
    return "\n".join(_lines(line, room, depth))


def _lines(text: str, room: int, depth: int = 0) -> list[str]:
    """Breaks between words. A longer path or name is broken after its slashes, then after its dashes."""
    pieces = _Pieces(
        room, subsequent_indent=" " * depth, break_long_words=False, break_on_hyphens=False, expand_tabs=False
    )
    return pieces.wrap(text)


class _Pieces(textwrap.TextWrapper):
    """Words that fit no line come in pieces."""

    def _split(self, text: str) -> list[str]:
        room = self.width - len(self.subsequent_indent)
        pieces: list[str] = []
        for word in super()._split(text):
            parts = re.findall(r"[^/]*/+|[^/]+", word) if len(word) > room else [word]
            for part in parts:
                pieces += re.findall(r"[^-_.:]*[-_.:]+|[^-_.:]+", part) if len(part) > room else [part]
        return pieces


def columns(stream: TextIO | None = None) -> int:
    """Returns the current width of the terminal, which may have been resized."""
    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or 80
    return shutil.get_terminal_size().columns


class StatusLine:
    """A line that is overwritten in place. It needs no escape code, so it works with NO_COLOR and TERM=dumb.

    It writes nothing if `stream` is no terminal. Any thread may call it.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = 0
        self._lock = threading.Lock()
        self.active = is_terminal(self._stream)

    def show(self, text: str) -> None:
        """Replaces the line, cut to the width of the terminal."""
        if not self.active:
            return
        from rich.cells import cell_len, set_cell_size

        room = max(1, columns(self._stream) - 1)
        line = one_line(text)
        line = set_cell_size(line, room).rstrip() if cell_len(line) > room else line
        width = cell_len(line)
        with self._lock:
            # A narrower terminal has wrapped the old line. Write at most one line of blanks
            blanks = " " * (min(self._shown, room) - width)
            self._write(f"\r{line}{blanks}\r{line}" if blanks else f"\r{line}")
            self._shown = width

    def clear(self) -> None:
        """Clears the line and moves the cursor to its beginning. Harmless if the line is empty."""
        with self._lock:
            if self._shown:
                blanks = " " * min(self._shown, max(1, columns(self._stream) - 1))
                self._write(f"\r{blanks}\r")
                self._shown = 0

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def bar(share: float, width: int = 24) -> str:
    """Draws a share of 1 in ASCII: `[######..........]`."""
    full = round(max(0.0, min(1.0, share)) * width)
    return f"[{'#' * full}{'.' * (width - full)}]"


def console(stream: TextIO | None = None) -> Console:
    """Returns a console that prints text without markup, with visible controls, and without escape codes if not
    supported."""
    from rich.console import Console  # Imported late, since a gateway prints no table

    stream = stream or sys.stdout
    plain = not in_colour(stream)
    width = columns(stream) if is_terminal(stream) else _WIDTH

    class SafeConsole(Console):
        """Prints text with visible controls. With `soft_wrap` it breaks lines as `say` does."""

        def print(self, *objects: Any, **options: Any) -> None:
            shown = [visible(part) if isinstance(part, str) else part for part in objects]
            if options.get("soft_wrap"):
                shown = [wrapped(part, stream) if isinstance(part, str) else part for part in shown]
            super().print(*shown, **options)

    return SafeConsole(
        file=stream,
        highlight=False,
        markup=False,
        width=width if plain else None,
        force_terminal=False if plain else None,
        color_system=None if plain else "auto",
    )


def table(*columns: str, left: Collection[str]) -> Table:
    """Returns an empty table. Columns outside `left` are figures. Added text gets visible controls."""
    from rich.table import Table
    from rich.text import Text

    class NameText(Text):
        """A name. If it is wider than its column, it is broken at its slashes and dashes."""

        def wrap(self, console: Console, width: int, *args: Any, **options: Any) -> Lines:
            if self.cell_len <= width:
                return super().wrap(console, width, *args, **options)
            return Text("\n".join(_lines(self.plain, width)), self.style).wrap(console, width, *args, **options)

    class SafeTable(Table):
        """Shows control characters in cells."""

        def add_row(self, *cells: Any, **options: Any) -> None:
            super().add_row(*(NameText(one_line(cell)) if isinstance(cell, str) else cell for cell in cells), **options)

    made = SafeTable(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="left" if column in left else "right", overflow="fold")
    return made


def memory_in_words(size: int, digits: int = 2) -> str:
    """Of memory, in GiB and MiB as systems, drivers and llama-server count it."""
    if size >= 1 << 30 or not size:
        return f"{size / (1 << 30):.{digits}f} GiB"
    return f"{max(size / (1 << 20), 10.0**-digits):.{digits}f} MiB"


def size_in_words(size: int, digits: int = 2) -> str:
    """Formats the size of files in decimal units, as disks are sold. `digits` follow the point."""
    if size >= 1e9 or not size:
        return f"{size / 1e9:.{digits}f} GB"
    return f"{max(size / 1e6, 10.0**-digits):.{digits}f} MB"
