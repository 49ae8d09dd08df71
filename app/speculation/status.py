"""The result of requested speculation: on, off with a reason, or unknown before the engine is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.config.speculation import NONE


@dataclass(frozen=True, slots=True)
class Status:
    """`requested_mode` and `mode` are names of chains. `active` is None while no engine is loaded.

    `mode` is the current mode, `none` if speculation is off. `reason` says why it differs from the request, or what its
    proof lacks. It may be empty.
    """

    requested_mode: str = NONE
    active: bool | None = None
    mode: str = NONE
    reason: str = ""

    def fields(self) -> dict[str, Any]:
        """Returns the fields of the APIs."""
        return {"requested": self.requested_mode, "active": self.active, "mode": self.mode, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of an engine: tokens drafted in the warm-up, and the field in `/slots`, None if the build
    has none."""

    drafted: int | None = None
    slots: bool | None = None
    log_says: str = ""


def judge(requested_mode: str, chain: str, *, draft_mode: bool, evidence: Evidence) -> Status:
    """Returns the status of an engine launched with `chain`.

    Drafted tokens are proof in any case. Without them a yes in `/slots` counts only if no warm-up could draft: it also
    says yes if `n_min` or `p_min` discards every drafted token (b11434). Its no is reliable.
    """
    if evidence.drafted or (evidence.slots and not draft_mode):
        return Status(requested_mode, True, chain)
    if evidence.slots or (evidence.slots is None and not draft_mode):
        doubt = "no token was drafted in the warm-up" if draft_mode else "this build does not report whether it is on"
        return Status(requested_mode, False, chain, f"{doubt}: the first drafted token in traffic will prove it")
    why = "/slots says that it is off" if evidence.slots is False else "no token was drafted in the warm-up"
    return Status(requested_mode, False, NONE, f"{why}: {evidence.log_says}" if evidence.log_says else why)
