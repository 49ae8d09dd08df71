"""The memory of this machine, as far as it is known."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import psutil

from app.engine.cgroup import memory_group
from app.engine.devices import Device, devices
from app.engine.locate import locate
from app.errors import TandemError


@dataclass(frozen=True, slots=True)
class Machine:
    """`host` and `host_free` are bytes. `devices` is None if no engine lists them.

    `origin` is the engine that listed them, or the reason why none did. `unified`: the devices share the host's memory.
    """

    devices: tuple[Device, ...] | None
    host: int
    unified: bool
    origin: str
    host_free: int | None = None


def this_machine(llama_server: str) -> Machine:
    """Asks the settings' engine (`--list-devices`) and the operating system."""
    host, unified = host_memory(), sys.platform == "darwin"
    free = max(host - host_used(), 0)
    try:
        engine = locate(llama_server)
        return Machine(devices(engine), host, unified, engine.origin, free)
    except TandemError as error:
        return Machine(None, host, unified, str(error), free)


def host_memory() -> int:
    """Bytes of the machine, or the limit of this container or service."""
    total, group = int(psutil.virtual_memory().total), memory_group()
    return total if group is None else min(total, group.limit)


def host_used() -> int:
    """Bytes of `host_memory` that are not available: processes of the machine or of the container hold them."""
    memory, group = psutil.virtual_memory(), memory_group()
    left = int(memory.available) if group is None else min(int(memory.available), group.limit - group.used)
    return max(host_memory() - left, 0)
