"""Applies changed settings to engines: removed models, changed plans, lower limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.errors import TandemError
from app.models.ref import ModelRef
from app.scheduler.engine_use import EngineUse
from app.scheduler.placement import Placement
from app.supervisor.readiness import StartLimits
from app.supervisor.states import EngineState

if TYPE_CHECKING:
    from app.scheduler.loop import Scheduler

_DOWN = (EngineState.STOPPED, EngineState.BACKOFF, EngineState.FATAL)
# Reasons, as decisions show them
_CHANGED, _GONE, _FEWER = "its settings have changed", "its model was removed", "fewer engines may be up"


class Reconfiguration:
    """Ends and restarts engines after a reload, by alias or variant. A busy engine finishes its answers first."""

    def __init__(self, scheduler: Scheduler, placement: Placement) -> None:
        self._scheduler = scheduler
        self._placement = placement
        # Engines to start again once they are down, and the error for each removed alias
        self._coming_back: set[str] = set()
        self._gone: dict[str, Callable[[], TandemError]] = {}
        # The loop keeps only weak references to tasks
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def aliases(self) -> tuple[str, ...]:
        """Models, and the variants that a request has named."""
        return tuple(self._placement.uses)

    def limit_starts(self, limits: StartLimits) -> None:
        """Sets the limits of each engine's next start and next stop."""
        for use in self._placement.uses.values():
            use.engine.limit(limits)

    def keep_to_the_limit(self, why: str = _FEWER) -> None:
        """Ends engines beyond `max_loaded` and the budgets: the least recently used first, pinned ones last."""
        up = [use for use in self._placement.uses.values() if use.state in (EngineState.STARTING, EngineState.READY)]
        up.sort(key=_stays_first)
        for alias in self._placement.beyond_limits(use.alias for use in up):
            self._end(self._placement.uses[alias], why)

    def renew(self, alias: str) -> bool:
        """Restarts an engine whose launch plan has changed; returns whether it was up."""
        use = self._placement.uses.get(alias)
        if use is None or not self._end(use, _CHANGED):
            return False
        self._coming_back.add(alias)
        return True

    def remove(self, alias: str, error: Callable[[], TandemError]) -> None:
        """Removes `alias`: its waiting and later requests get `error`."""
        if (use := self._placement.uses.get(alias)) is None:
            return
        self._coming_back.discard(alias)
        self._gone[alias] = error
        self._scheduler.send_away(use, error)
        self._end(use, _GONE)
        self.moved(use)

    def restore(self, alias: str) -> None:
        """Makes `alias` available again, if it was removed."""
        self._gone.pop(alias, None)

    def check(self, ref: ModelRef) -> None:
        """Raises the error of a removed model while its engine ends."""
        if (error := self._gone.get(ref.engine_key)) is not None:
            raise error()

    def moved(self, use: EngineUse) -> None:
        """Handles a transition of a known engine."""
        if use.engine.state not in _DOWN:
            return
        comes_back = use.alias in self._coming_back
        self._coming_back.discard(use.alias)
        if use.state is not EngineState.STOPPED:  # it failed, or starts again for waiting requests
            return
        if self._gone.pop(use.alias, None) is not None:
            self._placement.forget(use)
            closing = asyncio.create_task(use.engine.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        elif comes_back and not self._scheduler.closing and not self._scheduler.queued:
            # Without displacing another or delaying a request
            self._placement.start_if_it_fits(use, _CHANGED)

    def _end(self, use: EngineUse, why: str) -> bool:
        """Ends the engine after its last lease, and forgets a failed start; returns whether it was up."""
        match use.state:
            case EngineState.READY:
                self._placement.drain(use, "unloaded", why)
                return True
            case EngineState.STARTING:
                self._placement.decisions.add(use.alias, "unloaded", why)
                self._placement.head_for(use, EngineState.STOPPING, why)
                use.engine.stop()
                return True
            case EngineState.BACKOFF | EngineState.FATAL:
                use.engine.stop()
        return False

    async def close(self) -> None:
        """Returns when the engines of all removed models have ended."""
        await asyncio.gather(*self._closing)


def _stays_first(use: EngineUse) -> tuple[bool, bool, int, float]:
    """A sort key: pinned engines, then loading, busy and recently used ones."""
    return not use.pinned, use.state is EngineState.READY, -use.in_flight, -(use.last_used or 0.0)
