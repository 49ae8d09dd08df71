"""A frozen snapshot of one engine, for readers outside the scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.engine.launch import LaunchPlan
from app.errors import Diagnosis
from app.speculation.status import Status
from app.supervisor.engine_facts import EngineFacts
from app.supervisor.host import LOCAL
from app.supervisor.load_progress import LoadProgress
from app.supervisor.states import OCCUPYING, EngineState


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine of one alias. Moments are seconds since the epoch; `retry_after` is seconds from now.

    `since` is the beginning of the state, `reason` its cause. `waiting` counts requests in the gateway, `in_flight`
    those with the engine. `slots` is the number of requests that the engine answers at once, None if unknown.
    `unloads_at` is None if no timer unloads the engine.
    """

    alias: str
    state: EngineState = EngineState.STOPPED
    since: float | None = None
    reason: str = ""
    pid: int | None = None
    port: int | None = None
    # The name of its machine: `local`, or a node's
    host: str | None = None
    slots: int | None = None
    in_flight: int = 0
    waiting: int = 0
    last_used: float | None = None
    unloads_at: float | None = None
    pinned: bool = False
    retry_after: float | None = None
    # The duration of the last completed load, in seconds
    load_seconds: float | None = None
    diagnosis: Diagnosis | None = None
    # The running engine; None while nothing is loaded
    speculation: Status | None = None
    facts: EngineFacts | None = None
    # The plan of the last start, and the progress of the current one
    plan: LaunchPlan | None = None
    loading: LoadProgress | None = None

    @property
    def up(self) -> bool:
        """Whether the engine is READY or STARTING."""
        return self.state in (EngineState.STARTING, EngineState.READY)

    @property
    def local_pid(self) -> int | None:
        """Its process on this machine, if it runs here."""
        return self.pid if self.host == LOCAL else None

    @property
    def holds_memory(self) -> bool:
        return self.state in OCCUPYING

    @property
    def mode(self) -> str | None:
        """The speculation mode that decodes, by llama-server's name; None while nothing is loaded."""
        return self.speculation.mode if self.speculation else None

    def fields(self) -> dict[str, Any]:
        """The status as JSON for the APIs. Moments and durations are rounded."""
        return {
            "alias": self.alias,
            "state": str(self.state),
            "since": _moment(self.since),
            "reason": self.reason,
            "pid": self.pid,
            "port": self.port,
            "host": self.host,
            "slots": self.slots,
            "in_flight": self.in_flight,
            "waiting": self.waiting,
            "mode": self.mode,
            "last_used": _moment(self.last_used),
            "unloads_at": _moment(self.unloads_at),
            "pinned": self.pinned,
            "retry_after": None if self.retry_after is None else round(self.retry_after, 1),
            "load_seconds": None if self.load_seconds is None else round(self.load_seconds, 3),
            "loading": self.loading.fields() if self.loading else None,
            "diagnosis": _diagnosed(self.diagnosis),
        }


def _moment(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _diagnosed(diagnosis: Diagnosis | None) -> dict[str, Any] | None:
    if diagnosis is None:
        return None
    return {
        "code": diagnosis.code,
        "cause": diagnosis.cause,
        "advice": diagnosis.advice,
        "permanent": diagnosis.permanent,
        "log_tail": list(diagnosis.log_tail),
    }
