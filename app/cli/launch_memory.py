"""The memory that a start needs and whether it fits, for `plan` and `check`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from app.config.settings import Settings
from app.engine.devices import Device, devices
from app.engine.footprint.budget import may_page, unknown_places
from app.engine.footprint.footprint import HOST
from app.engine.footprint.verdict import MemoryVerdict, budgets_alone, judge, why_without_draft
from app.engine.launch import LaunchPlan
from app.engine.locate import EngineBinary, locate
from app.engine.memory import host_memory
from app.engine.visible_devices import visible
from app.errors import LaunchRefusedError, ProbeError, TandemError
from app.models.ref import ModelRef
from app.planner import Planner
from app.supervisor.memory_truth import MemoryTruth


@dataclass(frozen=True, slots=True)
class PlannedStart:
    """A launch plan and its memory verdict. `memory` is None if unknown."""

    plan: LaunchPlan
    memory: MemoryVerdict | None

    def fields(self) -> dict[str, Any]:
        """Returns the JSON form, with sizes in bytes."""
        return {
            "alias": self.plan.alias,
            "argv": list(self.plan.argv),
            "notes": [{"key": note.key, "text": note.text} for note in self.plan.notes],
            **self.memory_fields(),
        }

    def memory_fields(self) -> dict[str, Any]:
        """Returns the part about memory."""
        return {"footprint": None, "fits": None} if self.memory is None else self.memory.figures()


def start_of(
    settings: Settings,
    planner: Planner,
    ref: ModelRef,
    plan: LaunchPlan,
    truth: MemoryTruth,
) -> PlannedStart:
    """Returns `plan` with its verdict, or the plan without an optional draft if only that fits.

    `memory` is None if this engine does not list its devices. Raises GgufError and the planner's errors.
    """
    try:
        there = devices_of(planner.binary(), ())
    except ProbeError:
        return PlannedStart(plan, None)
    host = host_memory()
    budgets = budgets_alone(there, host, settings.memory, settings.memory_margin)
    # Engines of a running gateway make room, so `--fit` does not shrink this one to what they leave
    empty = [replace(device, free=device.total) for device in there]

    def judged(plan: LaunchPlan) -> MemoryVerdict:
        devices = visible(empty, plan.env, os.environ)
        return judge(plan.argv, devices, host, budgets, pages=may_page(settings.memory), measured=truth.known(plan))

    whole = judged(plan)
    if plan.draft_is_optional and (whole.short or whole.paged):
        without = judged(planner.plan_without_draft(ref, ""))
        if why := why_without_draft(whole, without):
            return PlannedStart(planner.plan_without_draft(ref, why), without)
    return PlannedStart(plan, whole)


def memory_lines(verdict: MemoryVerdict | None) -> Iterator[str]:
    """Yields the memory by place. Raises LaunchRefusedError if the gateway would refuse the start."""
    if verdict is not None:
        yield f"  memory     {verdict.needs()}"
        if not verdict.fits:
            raise LaunchRefusedError(f"memory: {verdict.words()}", code="insufficient_memory")
        yield f"    {'warning: ' if verdict.paged else ''}{verdict.words()}"


def memory_warnings(settings: Settings) -> list[str]:
    """Returns what `memory` says in vain; nothing if the engine does not list its devices."""
    if isinstance(settings.memory, str):
        return []
    try:
        there = devices_of(locate(settings.llama_server), ())
    except TandemError:
        return []
    return unknown_places(settings.memory, (HOST, *(device.name for device in there)))


@cache
def devices_of(engine: EngineBinary, env: tuple[tuple[str, str], ...]) -> tuple[Device, ...]:
    """Returns the engine's devices. Raises ProbeError."""
    return devices(engine, dict(env))
