"""What a start takes of memory and whether it fits, for `plan` and `check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from app.config.settings import Settings
from app.engine.devices import Device, devices
from app.engine.footprint.budget import may_page
from app.engine.footprint.verdict import MemoryVerdict, budgets_alone, judge
from app.engine.launch import LaunchPlan
from app.engine.locate import EngineBinary
from app.engine.memory import host_memory
from app.errors import LaunchRefusedError, ProbeError


@dataclass(frozen=True, slots=True)
class PlannedStart:
    """A launch plan and whether memory holds it; `memory` is None where nothing tells."""

    plan: LaunchPlan
    memory: MemoryVerdict | None

    def fields(self) -> dict[str, Any]:
        """For JSON; sizes in bytes."""
        return {
            "alias": self.plan.alias,
            "argv": list(self.plan.argv),
            "notes": [{"key": note.key, "text": note.text} for note in self.plan.notes],
            **self.memory_fields(),
        }

    def memory_fields(self) -> dict[str, Any]:
        """The part of it that is about memory."""
        return {"footprint": None, "fits": None} if self.memory is None else self.memory.figures()


def verdict_of(
    settings: Settings, engine: EngineBinary, plan: LaunchPlan, env: Mapping[str, str]
) -> MemoryVerdict | None:
    """Whether `plan` fits alone; None where this engine does not tell its devices. Raises GgufError."""
    try:
        there = devices_of(engine, tuple(sorted(env.items())))
    except ProbeError:
        return None
    host = host_memory()
    budgets = budgets_alone(there, host, settings.memory, settings.memory_margin)
    return judge(plan.argv, there, host, budgets, pages=may_page(settings.memory))


def memory_lines(verdict: MemoryVerdict | None) -> Iterator[str]:
    """What it takes and where; raises LaunchRefusedError where the gateway would refuse it for that."""
    if verdict is not None:
        yield f"  memory     {verdict.needs()}"
        if not verdict.fits:
            raise LaunchRefusedError(f"memory: {verdict.words()}", code="insufficient_memory")
        yield f"    {'warning: ' if verdict.paged else ''}{verdict.words()}"


@cache
def devices_of(engine: EngineBinary, env: tuple[tuple[str, str], ...]) -> tuple[Device, ...]:
    """Raises ProbeError."""
    return devices(engine, dict(env))
