"""What memory this machine has, as far as it tells."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.engine.devices import Device, devices
from app.engine.locate import locate
from app.errors import TandemError

# What a container may have, by the second generation of control groups and by the first.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class Machine:
    """`host` is memory in bytes; `devices` is None where no engine tells them, `origin` who told them or why nobody.

    `unified`: the devices have the host's own memory.
    """

    devices: tuple[Device, ...] | None
    host: int
    unified: bool
    origin: str


def this_machine(llama_server: str) -> Machine:
    """By `--list-devices` of the engine that the settings name, and the operating system."""
    host, unified = host_memory(), sys.platform == "darwin"
    try:
        engine = locate(llama_server)
        return Machine(devices(engine), host, unified, engine.origin)
    except TandemError as error:
        return Machine(None, host, unified, str(error))


def host_memory() -> int:
    """Bytes, of the machine or of the container that this runs in."""
    total = int(psutil.virtual_memory().total)
    for limit in _LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int(limit.read_text()))  # `max` is no number
    return total


_USED = Path("/sys/fs/cgroup/memory.current")
_STATISTICS = Path("/sys/fs/cgroup/memory.stat")


def host_used() -> int:
    """Bytes that processes of the machine, or of the container, hold and cannot give back."""
    memory = psutil.virtual_memory()
    if host_memory() < memory.total:
        with suppress(OSError, ValueError):
            rows = dict(line.split() for line in _STATISTICS.read_text().splitlines())
            return max(int(_USED.read_text()) - int(rows["inactive_file"]) - int(rows["active_file"]), 0)
    return int(memory.total - memory.available)
