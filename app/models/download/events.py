"""What a pull tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# What `verify` finds of a file: well; damaged; damaged, and fetched again; nothing to compare it with; not whole.
Verdict = Literal["fine", "bad", "repaired", "unknown", "incomplete"]
Kind = Literal["plan", "file", "start", "progress", "waiting", "checking", "done", "note"] | Verdict


@dataclass(frozen=True, slots=True)
class DownloadEvent:
    """`received` and `size` are bytes of the file `path`, in a `plan` of all files; `text` is for a person.

    `file`: one of the plan's, and what is here of it. `waiting`: somebody else pulls this file, and has got so far.
    `checking`: bytes hashed so far, of a file that nothing is fetched of.
    """

    kind: Kind
    path: str
    received: int = 0
    size: int = 0
    text: str = ""


# What counts as received in a pull, and as done where files are only checked.
RECEIVED: frozenset[Kind] = frozenset(("file", "start", "progress", "waiting", "done"))
CHECKED: frozenset[Kind] = frozenset(("checking",))


class Tally:
    """Bytes of all files together, by the events of some kinds."""

    def __init__(self, counted: frozenset[Kind] = RECEIVED) -> None:
        self._counted = counted
        self._files: dict[str, int] = {}

    def take(self, event: DownloadEvent) -> None:
        """In their order."""
        if event.kind in self._counted:
            self._files[event.path] = event.received

    @property
    def received(self) -> int:
        return sum(self._files.values())


# What runs tells something several times a second; an exception out of it ends the pull in order.
Emit = Callable[[DownloadEvent], None]
