"""What engines really take of memory: found once they are up, kept by launch plan, used for the next start.

By the engine's own report where its log has one; else by NVML for the devices and by the process for the host.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.engine.devices import Device
from app.engine.environment import of_the_machine
from app.engine.footprint.footprint import HOST
from app.engine.footprint.load_options import read_options
from app.engine.footprint.report import reported
from app.engine.held import HeldByProcess, held_by
from app.engine.launch import LaunchPlan
from app.engine.nvml import Nvml
from app.records.footprints import Footprints, HeldMemory
from app.supervisor.readiness import fingerprint

PROCESS, NVML, OUT_OF_MEMORY = "process", "nvml", "out of memory"


@dataclass(frozen=True, slots=True)
class RunningPlan:
    """An engine that is up: what it was started with, its process, and what it has written since."""

    plan: LaunchPlan
    pid: int
    log: Sequence[str] = ()


class MemoryTruth:
    """Its calls block, but for `keep`; each may be made in a thread, one at a time."""

    def __init__(self, kept: Footprints, nvml: Nvml | None = None) -> None:
        self._kept = kept
        self._nvml = nvml or Nvml()

    def known(self, plan: LaunchPlan) -> Mapping[str, HeldMemory]:
        """Of an engine that was started by this plan before."""
        return self._kept.of(_key(plan))

    def keep(self, plan: LaunchPlan, held: Mapping[str, HeldMemory]) -> None:
        """For the next start of this plan."""
        self._kept.record(_key(plan), held)

    def measured(self, engine: RunningPlan, devices: Sequence[Device]) -> dict[str, HeldMemory]:
        """By place in memory; a place that nobody tells of is not in it, and empty means that the engine has gone."""
        process = held_by(engine.pid, engine.plan.files)
        if process is None:
            return {}
        names = [device.name for device in devices]
        held = reported(engine.log, read_options(engine.plan.argv), names) if engine.log else None
        return dict(held) if held is not None else self._outside(engine, process, devices)

    def _outside(self, engine: RunningPlan, process: HeldByProcess, devices: Sequence[Device]) -> dict[str, HeldMemory]:
        # Devices are named as this process sees them, whatever the entry's own environment hides
        on_cards = self._nvml.held(process.pids, devices, os.environ)
        return {
            HOST: HeldMemory(process.own + process.mapped, process.mapped, PROCESS),
            **{name: HeldMemory(size, source=NVML) for name, size in on_cards.items()},
        }


def _key(plan: LaunchPlan) -> str:
    """The same for a gateway that is started by hand and one that a system starts."""
    return fingerprint(replace(plan, env=of_the_machine(plan.env)))
