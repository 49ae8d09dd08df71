"""Why a request gets no engine now, in words, and when it may come again."""

from __future__ import annotations

from dataclasses import dataclass

from app.errors import (
    EngineLoadingError,
    EngineUnavailableError,
    InsufficientMemoryError,
    QueueFullError,
    QueueTimeoutError,
    ShuttingDownError,
    StartFailedError,
    TandemError,
)
from app.scheduler.engine_use import EngineUse
from app.supervisor.process import Engine
from app.supervisor.readiness import refusal
from app.supervisor.states import EngineState

# For a client that is told to come again, where nothing better is known. Seconds.
_COME_AGAIN_S, _COME_AGAIN_AT_LEAST_S, _COME_AGAIN_AT_MOST_S = 10.0, 2.0, 60.0
# The queue in all, in units of that of one model
_QUEUES = 10


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """Of the settings; may be replaced while it runs. Durations are in seconds, `queue` is in requests a model."""

    max_loaded: int
    queue_timeout: float
    max_wait: float
    queue: int

    @property
    def queue_in_all(self) -> int:
        return self.queue * _QUEUES


async def check(engine: Engine) -> None:
    """What is certain to fail fails here, before a working engine makes room for it."""
    try:
        await engine.preflight()
    except InsufficientMemoryError:
        raise
    except TandemError as error:
        raise StartFailedError(engine.alias, refusal(error)) from error


def refused_for_memory(engine: Engine) -> bool:
    """Whether its last start was not tried since its plan does not fit: what is free may be more by now."""
    diagnosis = engine.diagnosis
    return engine.state is EngineState.BACKOFF and diagnosis is not None and diagnosis.code == "insufficient_memory"


def room_in_the_queue(use: EngineUse, queued: int, limits: SchedulerLimits) -> None:
    """Raises QueueFullError; `queued` are the requests that wait, for whatever engine."""
    waiting = len(use.queue)
    if waiting < limits.queue and queued < limits.queue_in_all:
        return
    words = f"{queued} requests wait here already."
    if waiting >= limits.queue:
        words = f"{waiting} requests wait for '{use.alias}' already."
    raise QueueFullError(words, retry_after=_soon(use.seconds_until_served(waiting)))


def too_late(use: EngineUse, timeout: float) -> EngineUnavailableError:
    """What a request has waited for, for as long as it may."""
    if use.state is EngineState.STARTING:
        loading = use.engine.loading
        retry_after = _soon(loading.seconds_left if loading else None)
        words, fields = (loading.words(), loading.fields()) if loading else ("it has just begun", {})
        return EngineLoadingError(use.alias, words, fields, retry_after=retry_after)
    if use.state is EngineState.BACKOFF:
        return refusal_of(use.engine)
    message = f"Timed out after {timeout:g} s waiting for a free engine for '{use.alias}'."
    if use.state is EngineState.READY:
        slots = "the slot" if use.residency.slots == 1 else f"one of the {use.residency.slots} slots"
        message = f"Timed out after {timeout:g} s waiting for {slots} of '{use.alias}'."
    return QueueTimeoutError(message, retry_after=_soon(use.seconds_until_served(len(use.queue))))


def refusal_of(engine: Engine) -> StartFailedError:
    """Of an engine that is down with a diagnosis."""
    assert engine.diagnosis is not None
    return StartFailedError(engine.alias, engine.diagnosis, retry_after=engine.retry_after)


def shutting_down() -> ShuttingDownError:
    return ShuttingDownError("The gateway is shutting down.", retry_after=5)


def _soon(seconds: float | None) -> float:
    """When to come again, if the reason is expected to last so long."""
    return min(max(_COME_AGAIN_S if seconds is None else seconds, _COME_AGAIN_AT_LEAST_S), _COME_AGAIN_AT_MOST_S)
