"""Prints an answer as it arrives: wraps at whole words, sets thoughts apart, neutralizes control characters."""

from __future__ import annotations

import re
import sys
from typing import TextIO

from app.terminal import Style, columns, in_colour, is_terminal, paint, visible

_WORD = re.compile(r"\n|[^\S\n]+|\S+")
# Marks of bold text, code and headings. They stay visible, so that copied text is complete
_HEADING = re.compile(r"#{1,6}\Z")


class TerminalAnswer:
    """Takes pieces of text. Without a terminal they are written as they arrive, without thoughts.

    On a terminal the last word is held back until it is complete. `end` leaves the cursor at the beginning of a line.
    """

    def __init__(self, stream: TextIO | None = None, *, thoughts: bool = True) -> None:
        self._stream = stream or sys.stdout
        self._terminal = is_terminal(self._stream)
        self._coloured = in_colour(self._stream)
        self._thoughts = thoughts and self._terminal
        self._held = ""
        self._column = 0
        self._thinking = False
        self._anything = False
        # State of the line and of the text so far
        self._fenced = self._bold = self._code = self._heading = False
        self._line_begins = True

    def think(self, text: str) -> None:
        """Writes a piece of the model's thoughts."""
        if not self._thoughts:
            return
        if not self._thinking:
            self._between()
            self._thinking = True
            self._put("thinking: ")
        self._take(text)

    def say(self, text: str) -> None:
        """Writes a piece of the answer."""
        if self._thinking:
            self._flush()
            self._between()
            self._thinking = False
            self._put("\n")
        if not self._terminal:
            self._write(visible(text))
            self._column = 0 if text.endswith("\n") else 1
            return
        self._take(text)

    def end(self, *, empty: bool = True) -> None:
        """Writes the held-back text and a line end. An answer without text is an empty line if `empty`."""
        self._flush()
        if self._column or (empty and not self._anything):
            self._write("\n")
            self._column = 0

    def _between(self) -> None:
        if self._column:
            self._put("\n")
        self._fenced = self._bold = self._code = self._heading = False

    def _take(self, text: str) -> None:
        text = self._held + text
        # An escape sequence may arrive in two pieces. Each character is shown by itself, so the split is harmless
        tail = re.search(r"\S*\Z", text)
        keep = tail[0] if tail else ""
        if len(keep) > columns(self._stream) // 2 or _wide(keep):
            keep = ""
        self._held = keep
        self._put_words(text[: len(text) - len(keep)])
        self._stream.flush()

    def _flush(self) -> None:
        held, self._held = self._held, ""
        self._put_words(held)
        self._stream.flush()

    def _put_words(self, text: str) -> None:
        for match in _WORD.finditer(visible(text)):
            self._put(match[0])

    def _put(self, word: str) -> None:
        """Writes one word, a run of blanks, or a line end."""
        from rich.cells import cell_len

        if word == "\n":
            self._write("\n")
            self._column, self._line_begins, self._heading, self._bold, self._code = 0, True, False, False, False
            return
        width, room = cell_len(word.expandtabs(8)), columns(self._stream)
        if not self._fenced and self._column and self._column + width > room:
            self._write("\n")
            self._column = 0
            if word.isspace():
                return
        self._write(self._styled(word))
        self._column = (self._column + width) % room if self._column + width > room else self._column + width
        if not word.isspace():
            self._line_begins = False

    def _styled(self, word: str) -> str:
        if self._thinking:
            return paint(word, "dim", stream=self._stream)
        if not self._coloured or word.isspace():
            return word
        if self._line_begins and word.startswith("```"):
            self._fenced = not self._fenced
            return paint(word, "dim", stream=self._stream)
        if self._fenced:
            return paint(word, "cyan", stream=self._stream)
        if self._line_begins and _HEADING.match(word):
            self._heading = True
        return self._emphasised(word)

    def _emphasised(self, word: str) -> str:
        parts = re.split(r"(\*\*|`)", word)
        out = ""
        for index, part in enumerate(parts):
            if part == "`":
                self._code = not self._code
            opens = part == "**" and not self._code and not self._bold and not "".join(parts[:index])[-1:].isalnum()
            if opens:
                self._bold = True
            styles: list[Style] = ["bold"] if self._bold or self._heading else []
            styles += ["cyan"] if self._code or part == "`" else []
            out += paint(part, *styles, stream=self._stream)
            if part == "**" and self._bold and not opens:
                self._bold = False
        return out

    def _write(self, text: str) -> None:
        self._anything = self._anything or bool(text)
        self._stream.write(text)
        if not self._terminal:
            self._stream.flush()


def _wide(text: str) -> bool:
    """Tells whether the character is of a script without blanks between words."""
    return any("\u2e80" <= sign <= "\uffef" for sign in text)
