"""The progress of a load: bytes of the model's files that a starting engine has read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.supervisor.activity import Activity
from app.terminal import size_in_words

# Seconds between two log lines
TELL_EVERY_S = 10.0


class LoadProgress:
    """The progress from now on of a load of `size` bytes; `clock` is in seconds.

    `read` is an estimate from what the process reads and maps, and never more than `size`.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size = size
        self.read = 0
        self._clock = clock
        self._began = self._reported_at = clock()

    def saw(self, activity: Activity) -> bool:
        """Updates the progress; returns whether it is time to log it."""
        # Mapped files are not read, and read data may be copied: the larger figure is the progress.
        self.read = min(self.size, max(self.read, activity.read, activity.resident))
        due = self._clock() - self._reported_at >= TELL_EVERY_S
        if due:
            self._reported_at = self._clock()
        return due

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """None at the beginning, and after the last byte: the time of the rest cannot be estimated."""
        if not 0 < self.read < self.size:
            return None
        return self.seconds * (self.size - self.read) / self.read

    def fields(self) -> dict[str, Any]:
        """The progress as JSON: bytes and seconds."""
        left = self.seconds_left
        return {
            "read": self.read,
            "size": self.size,
            "seconds": round(self.seconds, 1),
            "seconds_left": None if left is None else round(left),
        }

    def words(self) -> str:
        """The progress as a text: `12.30 GB of 40.10 GB read, 93 s so far`."""
        so_far = f"{self.seconds:.0f} s so far"
        if not self.size:
            return so_far
        return f"{size_in_words(self.read)} of {size_in_words(self.size)} read, {so_far}"
