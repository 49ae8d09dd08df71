"""What became of the speculation that was asked for: on, off and why, or not known before the engine is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.modes import NONE


@dataclass(frozen=True, slots=True)
class Status:
    """`requested` and `mode` are chains by name; `active` is None while no engine is loaded.

    `mode` is what decodes now, `none` where speculation is off. `reason` says in words why it is not what was
    requested, or what its proof still lacks; empty where there is nothing to explain.
    """

    requested: str = NONE
    active: bool | None = None
    mode: str = NONE
    reason: str = ""

    def fields(self) -> dict[str, Any]:
        """As the APIs show it."""
        return {"requested": self.requested, "active": self.active, "mode": self.mode, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an engine showed: tokens drafted in the warm-up, and `/slots`' word, None where the build has none."""

    drafted: int | None = None
    slots: bool | None = None
    log_says: str = ""


def judge(requested: str, chain: str, *, draft_mode: bool, evidence: Evidence) -> Status:
    """The status of a loaded engine that was launched with `chain`.

    `/slots` is llama-server's only word that cannot be wrong where it says no (b11434: `speculative`); drafted tokens
    are proof whatever it says.
    """
    if evidence.drafted or evidence.slots:
        silent = draft_mode and not evidence.drafted
        reason = "/slots says that it is on; the warm-up drafted no token" if silent else ""
        return Status(requested, True, chain, reason)
    if evidence.slots is None and not draft_mode:
        why = "this build does not tell whether it is on: the first drafted token in traffic will prove it"
        return Status(requested, False, chain, why)
    why = "/slots says that it is off" if evidence.slots is False else "no token was drafted in the warm-up"
    return Status(requested, False, NONE, f"{why}: {evidence.log_says}" if evidence.log_says else why)
