"""Events that a pull reports while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# The verdicts of `verify` on a file: good, damaged, repaired, no checksum known, incomplete.
Verdict = Literal["fine", "bad", "repaired", "unknown", "incomplete"]
Kind = Literal["plan", "file", "start", "progress", "waiting", "checking", "done", "note"] | Verdict


@dataclass(frozen=True, slots=True)
class DownloadEvent:
    """`received` and `size` are bytes of the file `path`, or of all files in a `plan`. `text` is a message.

    `file`: a file of the plan, and its bytes present. `waiting`: another process downloads this file, with its
    progress. `checking`: bytes hashed so far, of a file that needs no download.
    """

    kind: Kind
    path: str
    received: int = 0
    size: int = 0
    text: str = ""


# The events that count as received in a pull, and as done in a check.
RECEIVED: frozenset[Kind] = frozenset(("file", "start", "progress", "waiting", "done"))
CHECKED: frozenset[Kind] = frozenset(("checking",))


class ByteCount:
    """Sums the bytes of all files, by events of some kinds."""

    def __init__(self, counted: frozenset[Kind] = RECEIVED) -> None:
        self._counted = counted
        self._files: dict[str, int] = {}

    def take(self, event: DownloadEvent) -> None:
        """Takes the events in order."""
        if event.kind in self._counted:
            self._files[event.path] = event.received

    @property
    def received(self) -> int:
        return sum(self._files.values())


# Receives events several times per second. An exception that it raises ends the pull in order.
Emit = Callable[[DownloadEvent], None]
