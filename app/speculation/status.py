"""What became of the speculation that was asked for: on, off and why, or not known before the engine is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.config.speculation import NONE


@dataclass(frozen=True, slots=True)
class Status:
    """`requested_mode` and `mode` are chains by name; `active` is None while no engine is loaded.

    `mode` is what decodes now, `none` where speculation is off. `reason` says in words why it is not what was
    requested, or what its proof still lacks; empty where there is nothing to explain.
    """

    requested_mode: str = NONE
    active: bool | None = None
    mode: str = NONE
    reason: str = ""

    def fields(self) -> dict[str, Any]:
        """As the APIs show it."""
        return {"requested": self.requested_mode, "active": self.active, "mode": self.mode, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an engine showed: tokens drafted in the warm-up, and `/slots`' word, None where the build has none."""

    drafted: int | None = None
    slots: bool | None = None
    log_says: str = ""


def judge(requested_mode: str, chain: str, *, draft_mode: bool, evidence: Evidence) -> Status:
    """The status of a loaded engine that was launched with `chain`.

    Drafted tokens are proof whatever else is said. Without them `/slots` is only believed where no warm-up could draft:
    it says yes as well to a draft whose `n_min` or `p_min` throws every token away (b11434). Its no cannot be wrong.
    """
    if evidence.drafted or (evidence.slots and not draft_mode):
        return Status(requested_mode, True, chain)
    if evidence.slots or (evidence.slots is None and not draft_mode):
        doubt = "no token was drafted in the warm-up" if draft_mode else "this build does not tell whether it is on"
        return Status(requested_mode, False, chain, f"{doubt}: the first drafted token in traffic will prove it")
    why = "/slots says that it is off" if evidence.slots is False else "no token was drafted in the warm-up"
    return Status(requested_mode, False, NONE, f"{why}: {evidence.log_says}" if evidence.log_says else why)
