"""The errors of requests that get no engine, with the seconds until a retry is worthwhile."""

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

# Retry-After in seconds: if nothing is known, and its bounds.
_COME_AGAIN_S, _COME_AGAIN_AT_LEAST_S, _COME_AGAIN_AT_MOST_S = 10.0, 2.0, 60.0
# The limit of all queues together, as a multiple of that of one model
_QUEUES = 10


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """Limits from the settings; replaced at a reload. Durations are in seconds, `queue` is in requests per model."""

    max_loaded: int
    queue_timeout: float
    max_wait: float
    queue: int

    @property
    def queue_in_all(self) -> int:
        return self.queue * _QUEUES


async def check(engine: Engine) -> None:
    """Raises the error of a start that is certain to fail, before a working engine makes room for it."""
    try:
        await engine.preflight()
    except InsufficientMemoryError:
        raise
    except TandemError as error:
        raise StartFailedError(engine.alias, refusal(error)) from error


def refused_for_memory(engine: Engine) -> bool:
    """Whether its last start was refused because its plan did not fit. More memory may be free by now."""
    diagnosis = engine.diagnosis
    return engine.state is EngineState.BACKOFF and diagnosis is not None and diagnosis.code == "insufficient_memory"


def room_in_the_queue(use: EngineUse, queued: int, limits: SchedulerLimits) -> None:
    """Raises QueueFullError if the model's queue or all queues are full; `queued` counts all waiting requests."""
    waiting = len(use.queue)
    if waiting < limits.queue and queued < limits.queue_in_all:
        return
    words = f"Queue full: {queued} requests are waiting."
    if waiting >= limits.queue:
        words = f"Queue full: {waiting} requests are waiting for '{use.alias}'."
    raise QueueFullError(words, retry_after=_soon(use.seconds_until_served(waiting)))


def too_late(use: EngineUse, timeout: float) -> EngineUnavailableError:
    """The error of a request that has waited `timeout` seconds, by the state of its engine."""
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
    """The error of an engine that is down with a diagnosis."""
    assert engine.diagnosis is not None
    return StartFailedError(engine.alias, engine.diagnosis, retry_after=engine.retry_after)


def shutting_down() -> ShuttingDownError:
    return ShuttingDownError("The gateway is shutting down.", retry_after=5)


def _soon(seconds: float | None) -> float:
    """Retry-After for an expected wait of `seconds`, within the bounds."""
    return min(max(_COME_AGAIN_S if seconds is None else seconds, _COME_AGAIN_AT_LEAST_S), _COME_AGAIN_AT_MOST_S)
