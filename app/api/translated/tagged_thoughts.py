"""Separates thoughts between `<think>` and `</think>` at the beginning of a stream. Pure.

Builds of 2025 (b6628) stream them so, and other servers that run without a reasoning parser.
"""

from __future__ import annotations

import enum

_OPEN, _CLOSE = "<think>", "</think>"


class _ThoughtStage(enum.Enum):
    BEGINNING = enum.auto()
    THOUGHTS = enum.auto()
    GAP = enum.auto()
    TEXT = enum.auto()


class TaggedThoughts:
    """Takes pieces of text. Holds back the end of a piece that may be part of a tag."""

    def __init__(self) -> None:
        self._stage = _ThoughtStage.BEGINNING
        # At the beginning: the blanks, and what may be a part of the tag behind them
        self._blanks: list[str] = []
        self._held = ""
        self._begun = False

    def stop(self) -> None:
        """Treats all further pieces as text."""
        self._stage = _ThoughtStage.TEXT

    def feed(self, piece: str) -> tuple[str, str]:
        """Returns the thoughts and text that are certain."""
        if self._stage is _ThoughtStage.TEXT:
            return "", piece
        piece, self._held = self._held + piece, ""
        thoughts = ""
        if self._stage is _ThoughtStage.BEGINNING:
            begin = piece.lstrip()
            self._blanks.append(piece[: len(piece) - len(begin)])
            if begin.startswith(_OPEN):
                self._stage, piece = _ThoughtStage.THOUGHTS, begin.removeprefix(_OPEN)
                self._blanks = []
            elif _OPEN.startswith(begin):
                self._held = begin
                return "", ""
            else:
                self._stage, piece = _ThoughtStage.TEXT, self._all_held(begin)
        if self._stage is _ThoughtStage.THOUGHTS:
            thoughts, piece = self._until_the_end(piece)
        if self._stage is _ThoughtStage.GAP and (piece := piece.lstrip()):
            self._stage = _ThoughtStage.TEXT
        return thoughts, piece

    def end(self) -> tuple[str, str]:
        """Returns the text that was held back."""
        held = self._all_held(self._held)
        thinking, self._stage = self._stage is _ThoughtStage.THOUGHTS, _ThoughtStage.TEXT
        return (held, "") if thinking else ("", held)

    def _all_held(self, last: str) -> str:
        """Returns what was held back, with `last` at its end."""
        held = "".join([*self._blanks, last])
        self._blanks, self._held = [], ""
        return held

    def _until_the_end(self, piece: str) -> tuple[str, str]:
        if not self._begun:
            piece = piece.lstrip()
            self._begun = bool(piece)
        thoughts, close, rest = piece.partition(_CLOSE)
        if close:
            self._stage = _ThoughtStage.GAP
            return thoughts, rest
        length = next((n for n in range(len(_CLOSE) - 1, 0, -1) if piece.endswith(_CLOSE[:n])), 0)
        at = len(piece) - length
        self._held = piece[at:]
        return piece[:at], ""
