"""How far a load is: bytes of the model's files that a starting engine has read, for those who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.supervisor.activity import Activity
from app.terminal import size_in_words

# A line of the log this often, in seconds
TELL_EVERY_S = 10.0


class LoadProgress:
    """Of `size` bytes, from now on; `clock` is in seconds.

    `read` is an estimate from what the process reads and maps, and never more than `size`.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size = size
        self.read = 0
        self._clock = clock
        self._began = self._told = clock()

    def saw(self, activity: Activity) -> bool:
        """Whether it is time to tell of it."""
        # What is mapped is not read, and what is read may be copied: the larger of the two tells how far it is.
        self.read = min(self.size, max(self.read, activity.read, activity.resident))
        due = self._clock() - self._told >= TELL_EVERY_S
        if due:
            self._told = self._clock()
        return due

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """None before anything can be said, and behind the last byte: what comes then has no measure."""
        if not 0 < self.read < self.size:
            return None
        return self.seconds * (self.size - self.read) / self.read

    def fields(self) -> dict[str, Any]:
        """For a program: bytes and seconds."""
        left = self.seconds_left
        return {
            "read": self.read,
            "size": self.size,
            "seconds": round(self.seconds, 1),
            "seconds_left": None if left is None else round(left),
        }

    def words(self) -> str:
        """For a person: `12.30 GB of 40.10 GB read, 93 s so far`."""
        so_far = f"{self.seconds:.0f} s so far"
        if not self.size:
            return so_far
        return f"{size_in_words(self.read)} of {size_in_words(self.size)} read, {so_far}"
