"""The memory of a node: looked at, judged and measured by its agent, and asked for by the gateway.

Measured sizes are stored on the node, in its own `state_dir`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cluster.wire import decoded, encoded
from app.engine.devices import Device
from app.engine.footprint.verdict import MemoryVerdict
from app.engine.launch import LaunchPlan
from app.records.footprints import Footprints, HeldMemory
from app.supervisor.machine_memory import MemoryBounds, judged
from app.supervisor.memory_sight import MemorySight, SeenMemory
from app.supervisor.memory_truth import MemoryTruth, RunningPlan

if TYPE_CHECKING:
    from app.cluster.remote import RemoteHost


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """A plan of the node, and what an engine may take there."""

    plan: LaunchPlan
    bounds: MemoryBounds


@dataclass(frozen=True, slots=True)
class MeasureRequest:
    """A running engine of the node."""

    engine: RunningPlan
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class KeepRequest:
    """Measured sizes by place, for the next start of a plan."""

    plan: LaunchPlan
    held: Mapping[str, HeldMemory]


class NodeMemory:
    """The agent's side: blocking calls, for any thread."""

    def __init__(self, llama_server: str, stored: Footprints) -> None:
        self._sight = MemorySight(llama_server)
        self._truth = MemoryTruth(stored)
        # Of the sight and of NVML
        self._one_at_a_time = threading.Lock()

    def see(self) -> SeenMemory:
        with self._one_at_a_time:
            return self._sight.see()

    def judge(self, request: JudgeRequest) -> MemoryVerdict:
        """Raises GgufError."""
        return judged(request.plan, request.bounds, self._truth.known(request.plan))

    def measure(self, request: MeasureRequest) -> dict[str, HeldMemory]:
        with self._one_at_a_time:
            # The last list of devices may not show it
            self._sight.forget()
            return self._truth.measured(request.engine, request.devices)

    def keep(self, request: KeepRequest) -> None:
        self._truth.keep(request.plan, request.held)


class RemoteMemory:
    """The gateway's side. Methods raise HostLostError."""

    def __init__(self, host: RemoteHost) -> None:
        self._host = host

    async def see(self) -> SeenMemory:
        seen: SeenMemory = decoded(await self._host.call("see_memory", {}), SeenMemory)
        return seen

    async def judge(self, plan: LaunchPlan, bounds: MemoryBounds) -> MemoryVerdict:
        request = encoded(JudgeRequest(plan, bounds))
        verdict: MemoryVerdict = decoded(await self._host.call("judge_memory", request), MemoryVerdict)
        return verdict

    async def measure(self, engine: RunningPlan, devices: Sequence[Device]) -> Mapping[str, HeldMemory]:
        request = encoded(MeasureRequest(engine, tuple(devices)))
        held: dict[str, HeldMemory] = decoded(await self._host.call("measure_memory", request), dict[str, HeldMemory])
        return held

    async def keep(self, plan: LaunchPlan, held: Mapping[str, HeldMemory]) -> None:
        await self._host.call("keep_memory", encoded(KeepRequest(plan, held)))
