"""Looks at this machine's memory: devices by `--list-devices`, the host by the kernel and the container's limit."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import psutil

from app import logs
from app.engine.devices import Device, devices
from app.engine.footprint.budget import MemoryPlace
from app.engine.footprint.footprint import HOST
from app.engine.locate import locate
from app.engine.memory import host_memory, host_used
from app.engine.probe import kill_group
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

    `host_others` is what other programs' processes hold and cannot give back.
    """

    devices: tuple[Device, ...] | None
    host: int
    host_others: int = 0

    def places(self, held: Mapping[str, int]) -> dict[str, MemoryPlace]:
        """The host and the devices by name; `held` is the gateway's own use of devices."""
        places = [MemoryPlace(HOST, self.host, self.host_others)]
        for device in self.devices or ():
            others = max(device.total - device.free - held.get(device.name, 0), 0)
            places.append(MemoryPlace(device.name, device.total, others))
        return {place.name: place for place in places}

    def devices_without(self, held: Mapping[str, int]) -> tuple[Device, ...]:
        """The devices as they would be without the gateway's own use."""
        return tuple(
            replace(device, free=min(device.free + held.get(device.name, 0), device.total))
            for device in self.devices or ()
        )


class MemorySight:
    """Looks with the llama-server of the settings; for one thread at a time."""

    def __init__(self, llama_server: str) -> None:
        # May be replaced
        self.llama_server = llama_server
        self._devices: tuple[Device, ...] | None = None
        self._had_devices = False
        self._identity = ""
        self._until = -math.inf
        self._running: set[subprocess.Popen[bytes]] = set()

    def see(self) -> SeenMemory:
        """Blocks for as long as the engine takes to list its devices."""
        return SeenMemory(self._list(), host_memory(), max(host_used() - _of_our_children(), 0))

    def close(self) -> None:
        """Ends a list that another thread is waiting for, since it would delay the shutdown."""
        for process in tuple(self._running):
            kill_group(process)

    def _list(self) -> tuple[Device, ...] | None:
        """None without an engine, or if it has never listed any. After a failure the last list holds."""
        try:
            engine = locate(self.llama_server)
            if engine.identity != self._identity:
                self._identity, self._devices, self._had_devices = engine.identity, None, False
                self._until = -math.inf
        except (TandemError, OSError):
            return None
        # A build that has never seen a device will see none later
        if (self._devices != () or self._had_devices) and time.monotonic() >= self._until:
            try:
                self._devices = devices(engine, running=self._running)
                self._had_devices |= bool(self._devices)
                self._until = time.monotonic() + _REMEMBERED_S
            except TandemError as error:
                self._until = time.monotonic() + _FAILED_S
                log.warning(f"devices not listed: {error}")
        return self._devices


def _of_our_children() -> int:
    """Bytes that engines hold for themselves, without mapped files, whose pages the kernel can drop."""
    sizes = 0
    for child in descendants(psutil.Process()):
        with suppress(psutil.Error):
            sizes += own_memory(child)
    return sizes
