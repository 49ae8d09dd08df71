"""Computes a pull's progress from its events. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.models.download.events import RECEIVED, ByteCount, DownloadEvent
from app.terminal import size_in_words

# `asking`: the Hub's answer is pending. `waiting`: another process downloads the file, with its progress.
Phase = Literal["asking", "downloading", "waiting", "checking"]

_PHASES: dict[str, Phase] = {
    "start": "downloading",
    "progress": "downloading",
    "waiting": "waiting",
    "checking": "checking",
}
# The rate covers so many seconds, sampled at this interval. There is none in the first second.
_WINDOW_S, _EVERY_S, _LEAST_S = 20.0, 0.5, 1.0
# Limit of Retry-After for a Hub that is busy for hours
_NOTES = 20


@dataclass(frozen=True, slots=True)
class PullSnapshot:
    """`received` and `size` are bytes of all files. `rate` is in bytes per second. None means unknown.

    `notes` are the last messages.
    """

    phase: Phase = "asking"
    received: int = 0
    size: int | None = None
    rate: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def percent(self) -> float | None:
        """The share to one digit, rounded down: 100 means complete."""
        return None if self.size is None else int(1000 * self.received / self.size) / 10 if self.size else 100.0

    @property
    def seconds_left(self) -> float | None:
        if self.size is None or not self.rate:
            return None
        return (self.size - self.received) / self.rate

    def fields(self) -> dict[str, Any]:
        """Returns the progress as JSON fields."""
        left = self.seconds_left
        return {
            "phase": self.phase,
            "received": self.received,
            "size": self.size,
            "percent": self.percent,
            "rate": None if self.rate is None else round(self.rate),
            "seconds_left": None if left is None else round(left),
        }

    def words(self, name: str) -> str:
        """Returns the progress as text: `downloading m: 37.1 % of 135.02 GB, 112.0 MB/s, 13 min left`."""
        if self.size is None:
            return f"asking the Hub for {name}"
        if self.phase == "checking":
            return f"checking the files of {name} that are here"
        doing = "another process downloads" if self.phase == "waiting" else "downloading"
        parts = [f"{self.percent} % of {size_in_words(self.size)}"]
        if self.rate is not None:
            parts.append(f"{self.rate / 1e6:.1f} MB/s")
        if (left := self.seconds_left) is not None:
            parts.append(f"{_time(left)} left")
        return f"{doing} {name}: {', '.join(parts)}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


class PullProgress:
    """Takes events in order. `now` is replaced as a whole, so other threads may read it at any time."""

    def __init__(self) -> None:
        self.now = PullSnapshot()
        self._tally = ByteCount()
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, event: DownloadEvent, at: float) -> None:
        """Takes an event. `at` is in seconds of a clock that never goes back."""
        self._tally.take(event)
        if event.kind == "plan":
            received = min(event.received, event.size)
            self.now = replace(self.now, phase="downloading", received=received, size=event.size)
        elif event.kind == "note":
            self.now = replace(self.now, notes=(*self.now.notes, event.text)[-_NOTES:])
        elif event.kind == "checking":
            # Bytes that were here before
            self.now = replace(self.now, phase="checking", rate=None)
            self._samples.clear()
        elif event.kind in RECEIVED and event.kind != "file":
            received = self._tally.received if self.now.size is None else min(self._tally.received, self.now.size)
            phase = _PHASES.get(event.kind, self.now.phase)
            self.now = replace(self.now, phase=phase, received=received, rate=self._rate(at, received))

    def _rate(self, at: float, received: int) -> float | None:
        samples = self._samples
        if not samples or at - samples[-1][0] >= _EVERY_S:
            samples.append((at, received))
        while len(samples) > 1 and samples[1][0] <= at - _WINDOW_S:
            samples.popleft()
        since, had = samples[0]
        return max(0.0, (received - had) / (at - since)) if at - since >= _LEAST_S else None
