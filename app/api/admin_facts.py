"""The gateway's facts in the page's head, and those beside each engine's status."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from app import version
from app.config.model_entry import LocalEntry
from app.config.settings import Settings
from app.errors import TandemError
from app.models.catalog import Catalog
from app.planner import Planner
from app.scheduler.engine_status import EngineStatus
from app.scheduler.loop import Scheduler
from app.scheduler.memory_book import EngineMemory

# Seconds for which the binary's origin is cached, since finding it reads the disk
_BELIEVED_S = 10.0


class GatewayFacts:
    """`began` is in seconds since the epoch; `settings` gives those that hold now."""

    def __init__(
        self,
        catalog: Catalog,
        scheduler: Scheduler,
        planner: Planner,
        memory: EngineMemory,
        settings: Callable[[], Settings],
        began: float,
    ) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._planner = planner
        self._memory = memory
        self._settings = settings
        self._began = began
        self._engine = ""
        self._looked_again_at = 0.0

    def gateway(self) -> dict[str, Any]:
        """`max_loaded` is null where memory alone decides how many engines are up."""
        up = len(list(self._scheduler.holding()))
        settings = self._settings()
        limits = {"max_loaded": settings.max_loaded, "captures": settings.captures}
        return {"version": version(), "started": self._began, "engine": self._binary(), "loaded": up, **limits}

    def beside(self, engine: EngineStatus) -> dict[str, Any]:
        """Returns the fields that the page needs beside an engine's status.

        `footprint` is the memory that its start was planned with, place -> bytes; empty before the first plan.
        `measured` is the memory of the running engine, place -> bytes; empty if it is not measured.
        `repo` is the Hub repo of its files, or null.
        """
        entry = None
        with suppress(TandemError):
            entry = self._catalog.resolve(engine.alias).entry
        return {
            "context": engine.facts.context if engine.facts else None,
            "build": engine.facts.build if engine.facts else None,
            "footprint": dict(self._memory.expected(engine.alias)),
            "measured": dict(self._memory.measured(engine.alias)),
            "repo": entry.target.repo if isinstance(entry, LocalEntry) else None,
        }

    def _binary(self) -> str:
        """Returns the origin of the engine's binary, or "" without one."""
        if time.monotonic() >= self._looked_again_at:
            self._looked_again_at = time.monotonic() + _BELIEVED_S
            self._engine = ""
            with suppress(TandemError, OSError):
                self._engine = self._planner.binary().origin
        return self._engine
