"""Parses `tandem.yaml` and keeps the line and column of each part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.reader import ReaderError

from app.config.excerpt import excerpt
from app.config.tree import Tree, child, is_block, resolve_merges
from app.config.yaml_words import in_words
from app.errors import ConfigError

# libyaml if it is built in: it takes a fifteenth of the time, but its errors are less clear.
_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# As YAML 1.1 counts lines, so that numbers agree with its marks
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Position(NamedTuple):
    """A position in the file: line and column, both from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """A mistake and its place. `text` begins with the key, or with the source if `place` is None."""

    place: Position | None
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file. `settings` has merge keys resolved, and lacks the keys that only hold anchors.

    `problems` are keys that are not names or are written twice. Of the latter `settings` has the last.
    """

    path: Path
    settings: dict[str, Any]
    problems: tuple[Problem, ...] = ()
    _root: yaml.Node | None = field(default=None, repr=False)
    _text: _Text | None = field(default=None, repr=False)

    def place(self, keys: Sequence[int | str], *, of_key: bool = False) -> Position | None:
        """Returns the place of the value behind these keys, or of the last key. Falls back to what contains them."""
        node, best, whole = self._root, None, True
        for key in keys:
            pair = child(node, key)
            if pair is None:
                whole = False
                break
            best, node = pair, pair[1]
        if best is None:
            return None
        key_node, value = best
        # A block begins at its first key, lines below the one that names it
        return _place((key_node if (of_key and whole) or is_block(value) else value).start_mark)

    def has(self, keys: Sequence[int | str]) -> bool:
        """Tells whether the file has a value at these keys."""
        node = self._root
        for key in keys:
            if (pair := child(node, key)) is None:
                return False
            node = pair[1]
        return True

    def shown(self, problem: Problem) -> str:
        """Returns the problem after its place, with the line and a caret below it."""
        if problem.place is None or self._text is None:
            return problem.text
        return f"{self.path}:{self._text.shown(problem.place, problem.text)}"


class _Text:
    def __init__(self, text: str) -> None:
        self._lines = _LINE_BREAK.split(text)
        # None until the file is parsed
        self.secrets: tuple[yaml.Node, ...] | None = None

    def shown(self, place: Position, text: str) -> str:
        line = self._lines[place.line - 1] if place.line <= len(self._lines) else ""
        spans = None
        if self.secrets is not None:
            spans = [span for node in self.secrets if (span := _span(node, place.line, len(line)))]
        lines = excerpt(line, place.line, place.column, spans)
        return f"{place.line}:{place.column}: {text}\n{lines}"

    def place_of(self, position: int, text: str) -> Position:
        before = _LINE_BREAK.split(text[:position])
        return Position(len(before), len(before[-1]) + 1)


class _Constructor(SafeConstructor):
    """Reports the place of malformed dates and numbers, for which PyYAML only raises ValueError."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise ConstructorError(
                None, None, f"{node.value!r}: {error}; put it in quotes if it is text", node.start_mark
            ) from None


def read_document(path: Path) -> Document:
    """Reads and parses a file. An empty one has no settings.

    Raises ConfigError for a file that is not YAML, or not a mapping.
    """
    raw = _decoded(path)
    text = _Text(raw)

    def not_yaml(place: Position, words: str) -> ConfigError:
        return ConfigError([f"{path}:{text.shown(place, f'is not valid YAML: {words}')}"])

    try:
        root = _composed(raw)
        tree = Tree(root)
        resolve_merges(root)
        settings = None if root is None else _Constructor().construct_document(root)
    except ReaderError as error:
        words = f"the character {chr(error.character) if isinstance(error.character, int) else error.character!r}"
        raise not_yaml(text.place_of(error.position, raw), f"{words} has no place in it") from None
    except RecursionError:
        raise ConfigError([f"{path}: is not valid YAML: it is nested too deeply"]) from None
    except yaml.MarkedYAMLError as error:
        words, mark = in_words(error, re.findall(r"&([\w-]+)", raw))
        raise not_yaml(_place(mark) if mark else Position(1, 1), words) from None
    text.secrets = tree.secrets
    if settings is None:
        return Document(path, {}, (), root, text)
    if not isinstance(settings, dict):
        hint = "; here is a list: drop the dashes" if isinstance(settings, list) else ""
        raise ConfigError([f"{path}: must be a mapping of settings, such as `port: 8000`{hint}"])
    problems = [Problem(_place(node.start_mark), words) for node, words in tree.problems]
    named = {key: value for key, value in settings.items() if isinstance(key, str) and not key.startswith("x-")}
    return Document(path, named, tuple(problems), root, text)


def _composed(text: str) -> yaml.Node | None:
    try:
        fast: yaml.Node | None = yaml.compose(text, _FAST)
        return fast
    except yaml.YAMLError:
        slow: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
        return slow


def _decoded(path: Path) -> str:
    """Decodes UTF-8, with the byte order mark of Notepad and PowerShell. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError([f"{path}: is not UTF-8 text but UTF-16, as PowerShell's `>` writes it; save it as UTF-8"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8 text"]) from None


def _place(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _span(node: yaml.Node, line: int, length: int) -> tuple[int, int] | None:
    """Returns the columns, from 0, of a value in a line."""
    first, last = node.start_mark.line + 1, node.end_mark.line + 1
    if not first <= line <= last:
        return None
    return node.start_mark.column if line == first else 0, node.end_mark.column if line == last else length
