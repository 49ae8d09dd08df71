"""Looks at this machine's memory: devices by `--list-devices`, the host by the kernel and the container's limit."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import psutil

from app import logs
from app.engine.devices import Device, devices
from app.engine.footprint.budget import MemoryPlace
from app.engine.footprint.footprint import HOST
from app.engine.locate import EngineBinary, locate
from app.engine.memory import host_memory, host_used
from app.engine.nvml import Nvml
from app.engine.probe import RunningProbes
from app.engine.process_memory import own_memory
from app.engine.processes import descendants
from app.errors import TandemError

log = logs.get_logger("scheduler")

# The age in seconds up to which a list of devices is reused. A list starts a process, which queries drivers.
_REMEMBERED_S = 5.0
# The same after a failure: a list that hangs would delay each start by its whole patience.
_FAILED_S = 60.0


@dataclass(frozen=True, slots=True)
class SeenMemory:
    """This machine's memory at one moment, in bytes; `devices` is None if no engine lists them.

    `host_others` is what other programs' processes hold and cannot give back. `held` is what the gateway's own hold of
    devices at that moment; None if no driver tells.
    """

    devices: tuple[Device, ...] | None
    host: int
    host_others: int = 0
    held: Mapping[str, int] | None = None

    def places(self, needs: Mapping[str, int]) -> dict[str, MemoryPlace]:
        """The host and the devices by name; `needs` are those of the gateway's engines that are up."""
        places = [MemoryPlace(HOST, self.host, self.host_others)]
        for device in self.devices or ():
            others = max(device.total - device.free - self._own(device, needs), 0)
            places.append(MemoryPlace(device.name, device.total, others))
        return {place.name: place for place in places}

    def devices_without(self, needs: Mapping[str, int]) -> tuple[Device, ...]:
        """The devices as they would be without these engines."""
        return tuple(
            replace(device, free=min(device.free + self._own(device, needs), device.total))
            for device in self.devices or ()
        )

    def _own(self, device: Device, needs: Mapping[str, int]) -> int:
        """An engine that is being loaded does not hold yet what it needs; what it holds beyond that is not counted."""
        size = needs.get(device.name, 0)
        return size if self.held is None else min(size, self.held.get(device.name, 0))


class MemorySight:
    """Looks with the llama-server of the settings; for one thread at a time."""

    def __init__(self, llama_server: str, nvml: Nvml | None = None) -> None:
        # May be replaced
        self.llama_server = llama_server
        self._nvml = nvml or Nvml()
        self._devices: tuple[Device, ...] | None = None
        self._had_devices = False
        self._identity = ""
        self._until = -math.inf
        self._failed = False
        # The processes that held memory when the devices were listed, and what they held then
        self._listed_with: frozenset[int] = frozenset()
        self._held: Mapping[str, int] | None = None
        self._running = RunningProbes()

    def see(self) -> SeenMemory:
        """Blocks for as long as the engine takes to list its devices."""
        seen = self._list()
        return SeenMemory(seen, host_memory(), max(host_used() - _of_our_children(), 0), self._held)

    def forget(self) -> None:
        """Makes the next look list the devices again: an engine has come up."""
        if not self._failed:
            self._until = -math.inf

    def close(self) -> None:
        """Ends a list that another thread is waiting for, since it would delay the shutdown."""
        self._running.close()

    def _list(self) -> tuple[Device, ...] | None:
        """None without an engine, or if it has never listed any. After a failure the last list holds."""
        try:
            engine = locate(self.llama_server)
            if engine.identity != self._identity:
                self._identity, self._devices, self._had_devices = engine.identity, None, False
                self._until, self._failed = -math.inf, False
        except (TandemError, OSError):
            return None
        # A build that has never seen a device will see none later
        if self._devices != () or self._had_devices:
            ours = frozenset(child.pid for child in descendants(psutil.Process()))
            # The last list does not show the memory of a process that has started since, or has gone
            if time.monotonic() >= self._until or (ours != self._listed_with and not self._failed):
                self._list_again(engine, ours)
        return self._devices

    def _list_again(self, engine: EngineBinary, ours: frozenset[int]) -> None:
        try:
            self._devices = devices(engine, running=self._running)
        except TandemError as error:
            self._failed, self._until = True, time.monotonic() + _FAILED_S
            log.warning(f"devices not listed: {error}")
            return
        self._failed, self._until = False, time.monotonic() + _REMEMBERED_S
        self._had_devices |= bool(self._devices)
        self._listed_with = ours
        held = self._nvml.held(ours, self._devices, os.environ)
        # Without a figure for any process, NVML may not know them; once it does, it knows all
        self._held = held if held or self._held is not None else None


def _of_our_children() -> int:
    """Bytes that engines hold for themselves, without mapped files, whose pages the kernel can drop."""
    sizes = 0
    for child in descendants(psutil.Process()):
        with suppress(psutil.Error):
            sizes += own_memory(child)
    return sizes
