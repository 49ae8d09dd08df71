"""Settings that have changed: models that are gone, engines that are to be others, limits that are lower."""

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
# In the words of decisions
_CHANGED, _GONE, _FEWER = "its settings have changed", "it is no model any more", "fewer may be up"


class Reconfiguration:
    """Engines by alias or variant. What is busy finishes its answers first."""

    def __init__(self, scheduler: Scheduler, placement: Placement) -> None:
        self._scheduler = scheduler
        self._placement = placement
        # Those that start again once they are down, and what to tell of those that do not exist any more
        self._coming_back: set[str] = set()
        self._gone: dict[str, Callable[[], TandemError]] = {}
        # The loop keeps only weak references to tasks
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def aliases(self) -> tuple[str, ...]:
        """Models, and the variants that somebody has asked for."""
        return tuple(self._placement.uses)

    def limit_starts(self, limits: StartLimits) -> None:
        """Of the next start and the next stop of each engine."""
        for use in self._placement.uses.values():
            use.engine.limit(limits)

    def keep_to_the_limit(self, why: str = _FEWER) -> None:
        """Ends what is up beyond `max_loaded` and the budgets: the least recently used first, pinned ones last."""
        up = [use for use in self._placement.uses.values() if use.state in (EngineState.STARTING, EngineState.READY)]
        up.sort(key=_stays_first)
        for alias in self._placement.beyond_limits(use.alias for use in up):
            self._end(self._placement.uses[alias], why)

    def renew(self, alias: str) -> bool:
        """The launch plan of `alias` is another now: an engine that is up ends and starts again; whether it was up."""
        use = self._placement.uses.get(alias)
        if use is None or not self._end(use, _CHANGED):
            return False
        self._coming_back.add(alias)
        return True

    def remove(self, alias: str, error: Callable[[], TandemError]) -> None:
        """`alias` exists no longer: who waits or comes for it gets `error`."""
        if (use := self._placement.uses.get(alias)) is None:
            return
        self._coming_back.discard(alias)
        self._gone[alias] = error
        self._scheduler.send_away(use, error)
        self._end(use, _GONE)
        self.moved(use)

    def restore(self, alias: str) -> None:
        """`alias` exists, whether it was removed before or not."""
        self._gone.pop(alias, None)

    def check(self, ref: ModelRef) -> None:
        """Raises the error of a model that is gone, while its engine ends."""
        if (error := self._gone.get(ref.engine_key)) is not None:
            raise error()

    def moved(self, use: EngineUse) -> None:
        """To be called after every transition of an engine that is known."""
        if use.engine.state not in _DOWN:
            return
        comes_back = use.alias in self._coming_back
        self._coming_back.discard(use.alias)
        if use.state is not EngineState.STOPPED:  # it failed, or starts again for those who wait
            return
        if self._gone.pop(use.alias, None) is not None:
            self._placement.forget(use)
            closing = asyncio.create_task(use.engine.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        elif comes_back and self._has_room(use):
            self._placement.decisions.add(use.alias, "started", _CHANGED)
            self._placement.head_for(use, EngineState.STARTING, _CHANGED)
            use.engine.start()

    def _has_room(self, use: EngineUse) -> bool:
        """It was up, so that it comes up again, but at nobody's cost."""
        idle = not self._scheduler.closing and not self._scheduler.queued
        return idle and self._placement.fits_now(use)

    def _end(self, use: EngineUse, why: str) -> bool:
        """Ends the engine behind its last lease, and with it what is known of a failed start; whether it was up."""
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
    """The pinned, then those that load for somebody, the busy, and the recently used."""
    return not use.pinned, use.state is EngineState.READY, -use.in_flight, -(use.last_used or 0.0)
