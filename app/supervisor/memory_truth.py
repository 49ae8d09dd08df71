"""Measures the memory of running engines and stores it by launch plan, for the next start.

The engine's own report in its log comes first. Without one, NVML measures the devices, and the process the host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.engine.devices import Device
from app.engine.environment import without_login_variables
from app.engine.footprint.footprint import HOST
from app.engine.footprint.load_options import read_options
from app.engine.footprint.report import reported
from app.engine.launch import LaunchPlan
from app.engine.nvml import Nvml
from app.engine.process_memory import ProcessMemory, memory_of
from app.engine.visible_devices import visible
from app.errors import Diagnosis
from app.records.footprints import Footprints, HeldMemory
from app.supervisor.readiness import fingerprint

# A start that ran out of memory needs at least so many bytes more than were free.
_MORE = 1 << 20
# No estimate is so wrong: if that much more was free by the book, another program had taken the memory.
_BELIEVED = 3
_MIB = 1 << 20
PROCESS, NVML, OUT_OF_MEMORY = "process", "nvml", "out of memory"


@dataclass(frozen=True, slots=True)
class RunningPlan:
    """A running engine: its launch plan, its process, and its log so far."""

    plan: LaunchPlan
    pid: int
    log: Sequence[str] = ()


class MemoryTruth:
    """Measures and stores. Calls block, except `keep`; each may run in a thread, one at a time."""

    def __init__(self, stored: Footprints, nvml: Nvml | None = None) -> None:
        self._stored = stored
        self._nvml = nvml or Nvml()

    def known(self, plan: LaunchPlan) -> Mapping[str, HeldMemory]:
        """The stored sizes of an earlier engine with this plan."""
        return self._stored.of(_key(plan))

    def keep(self, plan: LaunchPlan, held: Mapping[str, HeldMemory]) -> None:
        """Stores sizes for the next start of this plan."""
        self._stored.record(_key(plan), held)

    def measured(self, engine: RunningPlan, devices: Sequence[Device]) -> dict[str, HeldMemory]:
        """Sizes by place in memory. Places without a source are absent; empty if the engine is gone."""
        process = memory_of(engine.pid, engine.plan.files)
        if process is None:
            return {}
        seen = visible(devices, engine.plan.env, os.environ)
        held = reported(engine.log, read_options(engine.plan.argv), seen) if engine.log else None
        if held is None:
            return self._outside(engine, process, devices)
        # The engine has its own names
        return {seen[name].name if name in seen else name: size for name, size in held.items()}

    def _outside(self, engine: RunningPlan, process: ProcessMemory, devices: Sequence[Device]) -> dict[str, HeldMemory]:
        # Devices have the names that this process sees, whatever the entry's own environment hides
        on_cards = self._nvml.held(process.pids, devices, os.environ)
        return {
            HOST: HeldMemory(process.own + process.mapped, process.mapped, PROCESS),
            **{name: HeldMemory(size, source=NVML) for name, size in on_cards.items()},
        }


def _key(plan: LaunchPlan) -> str:
    """The same key for a gateway started by hand and one started by a service manager."""
    return fingerprint(replace(plan, env=without_login_variables(plan.env)))


def ran_out_of(diagnosis: Diagnosis, devices: list[str]) -> list[str]:
    """The places that the diagnosis names; empty if it names none."""
    if diagnosis.code == "host_memory" or not devices:
        return [HOST]
    if number := re.search(r"on device (\d+)", diagnosis.cause):
        named = [name for name in devices if re.fullmatch(rf"\D+{number[1]}", name)]
        return named[:1]
    return devices if len(devices) == 1 else []


def allocated(diagnosis: Diagnosis) -> int:
    """Bytes of the allocation that failed; 0 if the diagnosis does not tell."""
    found = re.search(r"([\d.]+) MiB could not be allocated", diagnosis.cause)
    return int(float(found[1]) * _MIB) if found else 0


def learned_size(limit: int, held: int, before: int, wanted: int) -> int:
    """Bytes that a start needs which ran out of memory beside engines that hold `held` of `limit`; 0 if it shows none.

    `before` is what it was thought to need, `wanted` the one allocation that failed.
    """
    learned = min(limit - held + _MORE, limit)
    return learned if held and before < learned <= _BELIEVED * max(before, wanted) else 0
