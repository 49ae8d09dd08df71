"""Keeps the last log lines of the gateway and of each engine in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Lines of the gateway, and of each engine. A line has some 200 bytes
_LINES_KEPT = 2000
# Engines whose lines are kept. The oldest are dropped first
_ENGINES_KEPT = 32


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line. `number` grows by one per line over all logs. `at` is in seconds since the epoch."""

    number: int
    at: float
    level: str
    event: Mapping[str, Any]


class LogMemory:
    """The lines of the gateway and, by alias, of its engines. Any thread may write and read."""

    def __init__(self, kept: int = _LINES_KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._count = 0
        self._own: deque[LogEntry] = deque(maxlen=kept)
        self._engines: dict[str, deque[LogEntry]] = {}

    def add(self, at: float, level: str, event: Mapping[str, Any]) -> None:
        """Adds a line of the gateway."""
        with self._lock:
            self._count += 1
            self._own.append(LogEntry(self._count, at, level, dict(event)))

    def add_engine_line(self, alias: str, at: float, line: str) -> None:
        """Adds a line of an engine."""
        with self._lock:
            self._count += 1
            lines = self._engines.get(alias)
            if lines is None:
                while len(self._engines) >= _ENGINES_KEPT:
                    del self._engines[next(iter(self._engines))]
                lines = self._engines[alias] = deque(maxlen=self._kept)
            lines.append(LogEntry(self._count, at, "engine", {"event": line}))

    @property
    def newest(self) -> int:
        """The number of the latest line."""
        return self._count

    def last(self, count: int, alias: str | None = None, behind: int = 0) -> list[LogEntry]:
        """Returns the last `count` lines numbered above `behind`, oldest first: of the gateway, or of a model.

        The lines of a model are its engine's, and those of the gateway that name it.
        """
        with self._lock:
            entries = list(self._own) if alias is None else self._of(alias)
        return [entry for entry in entries if entry.number > behind][-count:] if count > 0 else []

    def _of(self, alias: str) -> list[LogEntry]:
        entries = [entry for entry in self._own if entry.event.get("alias") == alias]
        # At debug level the gateway's log repeats each line of its engines
        own = [entry for entry in entries if entry.level != "debug"]
        return sorted([*own, *self._engines.get(alias, ())], key=lambda entry: entry.number)
