"""The memory of one machine: what is free, and what an engine would take, or takes. A node has the same methods."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.engine.devices import Device
from app.engine.footprint.verdict import MemoryVerdict, judge_beside
from app.engine.launch import LaunchPlan
from app.engine.visible_devices import visible
from app.records.footprints import HeldMemory
from app.supervisor.memory_sight import SeenMemory
from app.supervisor.memory_truth import MemoryTruth, RunningPlan


@dataclass(frozen=True, slots=True)
class MemoryBounds:
    """What an engine may take. `devices` are as they are now, `emptied` as they would be without engines of ours.

    `pages`: mapped files may exceed the budget of the host.
    """

    devices: tuple[Device, ...]
    emptied: tuple[Device, ...]
    host: int
    budgets: Mapping[str, int]
    pages: bool


class MachineMemory(Protocol):
    """The methods of a node raise HostLostError."""

    async def see(self) -> SeenMemory:
        """May take a second, since an engine lists the devices."""
        ...

    async def judge(self, plan: LaunchPlan, bounds: MemoryBounds) -> MemoryVerdict:
        """Whether an engine fits alone, by its estimate or the measurements of earlier starts. Raises GgufError."""
        ...

    async def measure(self, engine: RunningPlan, devices: Sequence[Device]) -> Mapping[str, HeldMemory]:
        """The sizes of a running engine by place; empty if there is no measurement."""
        ...

    async def keep(self, plan: LaunchPlan, held: Mapping[str, HeldMemory]) -> None:
        """Stores measured sizes for the next start of this plan."""
        ...


def judged(plan: LaunchPlan, bounds: MemoryBounds, measured: Mapping[str, HeldMemory]) -> MemoryVerdict:
    """The verdict on the machine that the plan is for. Raises GgufError."""
    now, emptied = (visible(there, plan.env, os.environ) for there in (bounds.devices, bounds.emptied))
    return judge_beside(plan.argv, now, emptied, bounds.host, bounds.budgets, pages=bounds.pages, measured=measured)


class ThisMachineMemory:
    """Blocking work in threads. `see` looks at the machine. Without `truth` nothing is measured."""

    def __init__(self, see: Callable[[], SeenMemory], truth: MemoryTruth | None) -> None:
        self._see = see
        self._truth = truth

    async def see(self) -> SeenMemory:
        return await asyncio.to_thread(self._see)

    async def judge(self, plan: LaunchPlan, bounds: MemoryBounds) -> MemoryVerdict:
        measured = {} if self._truth is None else await asyncio.to_thread(self._truth.known, plan)
        return await asyncio.to_thread(judged, plan, bounds, measured)

    async def measure(self, engine: RunningPlan, devices: Sequence[Device]) -> Mapping[str, HeldMemory]:
        return {} if self._truth is None else await asyncio.to_thread(self._truth.measured, engine, devices)

    async def keep(self, plan: LaunchPlan, held: Mapping[str, HeldMemory]) -> None:
        if self._truth is not None:
            await asyncio.to_thread(self._truth.keep, plan, held)
