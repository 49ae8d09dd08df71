"""Collects tool calls whose pieces come in any order. Each piece is read once, however many calls there are. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from enum import Enum, auto
from heapq import heappop, heappush
from typing import Any

from app.api.translated.chat_events import CallDelta
from app.api.translated.tools import read_json

# The rest of a text in JSON, up to its quote
_REST_OF_TEXT = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# A number or a word, which may always go on. No call has a longer one as its arguments
_LONGEST_SCALAR = 64


class _Stage(Enum):
    """What the pieces so far are."""

    BLANK = auto()
    SCALAR = auto()
    OPEN = auto()
    CLOSED = auto()


class Arguments:
    """The arguments of a call: JSON in pieces, cut anywhere."""

    __slots__ = ("_complete", "_depth", "_escaped", "_in_text", "_pieces", "_stage", "length")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.length = 0
        # Open brackets; whether the last piece ends in a text, and there after a backslash
        self._depth = 0
        self._in_text = self._escaped = False
        self._stage = _Stage.BLANK
        self._complete = False

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        self.length += len(piece)
        text = piece if self._in_text else piece.strip()
        if not text:
            return
        if self._stage is _Stage.BLANK:
            self._stage = _Stage.OPEN if text.startswith(("{", "[", '"')) else _Stage.SCALAR
        if self._stage is _Stage.CLOSED:
            self._complete = False  # Something follows the value
        elif self._stage is _Stage.OPEN:
            self._scan(piece)
            if not self._in_text and self._depth <= 0:
                self._stage, self._complete = _Stage.CLOSED, read_json(str(self)) is not None

    @property
    def complete(self) -> bool:
        """Tells whether the arguments look complete."""
        if self._stage is _Stage.SCALAR:
            return self.length <= _LONGEST_SCALAR and read_json(str(self)) is not None
        return self._complete

    def _scan(self, piece: str) -> None:
        at = 1 if self._escaped else 0
        self._escaped = False
        while at < len(piece):
            if self._in_text:
                rest = _REST_OF_TEXT.match(piece, at)
                at = rest.end() if rest else at
                self._escaped = piece.startswith("\\", at)
                self._in_text = not piece.startswith('"', at)
                at += 1
            else:
                quote = piece.find('"', at)
                end = len(piece) if quote < 0 else quote
                for bracket, step in (("{", 1), ("[", 1), ("}", -1), ("]", -1)):
                    self._depth += step * piece.count(bracket, at, end)
                self._in_text = quote >= 0
                at = end + 1


class ToolCall:
    """The received part of a call. `number` is its place among all calls, `slot` holds the API writer's own data."""

    __slots__ = ("_waiting", "arguments", "call_id", "index", "name", "number", "slot")

    def __init__(self, number: int, index: int | None, call_id: str) -> None:
        self.number = number
        self.index = index
        self.call_id = call_id
        self.name = ""
        self.arguments = Arguments()
        # Arguments that have not been sent yet
        self._waiting: list[str] = []
        self.slot: Any = None

    @property
    def complete(self) -> bool:
        """Tells whether the arguments look complete."""
        return self.arguments.complete

    def add_arguments(self, piece: str) -> None:
        """Adds a piece of the arguments."""
        self.arguments.add(piece)
        self._waiting.append(piece)

    def take_waiting(self) -> str:
        """Returns the arguments that have not been sent yet, once."""
        waiting, self._waiting = "".join(self._waiting), []
        return waiting


class ToolCalls:
    """The calls of one answer, in their order."""

    def __init__(self) -> None:
        self._calls: list[ToolCall] = []
        # The latest call by index (None: of all), and by index and id; calls without an id yet, by index
        self._latest: dict[int | None, ToolCall] = {}
        self._by_id: dict[tuple[int | None, str], ToolCall] = {}
        self._without_id: defaultdict[int | None, list[ToolCall]] = defaultdict(list)
        # Numbers of calls that have a name and are not opened
        self._unopened: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def of(self, delta: CallDelta, name: str) -> ToolCall:
        """Returns the call of a piece, which may bring a `name`.

        Some servers number all calls 0 and distinguish them by id. Without an index a name begins a call.
        """
        call = None if delta.index is None and name else self._known(delta.index, delta.id or "")
        if call is None:
            call = ToolCall(len(self._calls), delta.index, delta.id or "")
            self._calls.append(call)
            for index in {delta.index, None}:
                self._latest[index] = call
                self._note_id(index, call)
        elif delta.id and not call.call_id:
            call.call_id = delta.id
            for index in {call.index, None}:
                self._note_id(index, call)
        if name and not call.name:
            call.name = name
            heappush(self._unopened, call.number)
        return call

    def next_unopened(self) -> ToolCall | None:
        """Returns the first named call that has not been returned yet."""
        return self._calls[heappop(self._unopened)] if self._unopened else None

    def _note_id(self, index: int | None, call: ToolCall) -> None:
        if call.call_id:
            known = self._by_id.get((index, call.call_id))
            self._by_id[index, call.call_id] = call if known is None or known.number < call.number else known
        else:
            self._without_id[index].append(call)

    def _known(self, index: int | None, call_id: str) -> ToolCall | None:
        """Returns the latest call of an index that has this id or none."""
        if not call_id:
            return self._latest.get(index)
        nameless = self._without_id[index]
        while nameless and nameless[-1].call_id:
            nameless.pop()  # It has got an id since
        named = self._by_id.get((index, call_id))
        if nameless and (named is None or named.number < nameless[-1].number):
            return nameless[-1]
        return named
