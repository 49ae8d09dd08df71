"""Collects the changing figures of each engine: context, memory, and those of its last answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psutil

from app.models.catalog import Catalog
from app.records.recent import RecentAnswers
from app.scheduler.engine_status import EngineStatus


class LiveFigures:
    """Returns the changing figures of engines."""

    def __init__(self, catalog: Catalog, recent: RecentAnswers) -> None:
        self._catalog = catalog
        self._recent = recent

    def engine(self, status: EngineStatus) -> dict[str, Any]:
        """Returns the figures of an engine. `memory` is the host memory of its process in bytes, with shared pages.

        It is None for a process on another machine.
        """
        names = [ref.name for ref in self._catalog.refs(presets=True, variants=True) if ref.engine_key == status.alias]
        figures = self._recent.figures(*names)
        return {
            "context": status.facts.context if status.facts else None,
            "memory": _resident(status.local_pid),
            "acceptance": None if figures.acceptance is None else round(figures.acceptance, 4),
            "tok_s": None if figures.tok_s is None else round(figures.tok_s, 2),
        }


def _resident(pid: int | None) -> int | None:
    if pid is not None:
        with suppress(psutil.Error, OSError):
            return int(psutil.Process(pid).memory_info().rss)
    return None
