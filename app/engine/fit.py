"""Estimates whether a model fits a machine, by sizes alone. Pure."""

from __future__ import annotations

from typing import Literal

from app.engine.memory import Machine
from app.terminal import memory_in_words

# Added to the weights: about the size of a context of some thousand tokens and of the compute buffers.
_LEAST_BESIDE = 1 << 30
Fit = Literal["devices", "devices and host", "host", "no"]


def needed(size: int) -> int:
    """Bytes of memory for files of `size` bytes."""
    return size + max(_LEAST_BESIDE, size // 10)


def fit(size: int, machine: Machine) -> Fit:
    """The place where files of `size` bytes fit if nothing else is loaded. Unknown devices are not counted."""
    on_devices = sum(device.total for device in machine.devices or ())
    if needed(size) <= on_devices:
        return "devices"
    if on_devices and not machine.unified:
        return "devices and host" if needed(size) <= on_devices + machine.host else "no"
    return "host" if needed(size) <= machine.host else "no"


def basis(machine: Machine) -> list[str]:
    """The figures behind the judgement, in sentences."""
    source = f"({machine.origin}, --list-devices)"
    if machine.devices is None:
        seen = f"devices unknown: {machine.origin}"
    elif machine.devices:
        rooms = (f"{d.name} {_room(d.total, d.free)} ({d.description})" for d in machine.devices)
        seen = f"{', '.join(rooms)} {source}"
    else:
        seen = f"no device {source}"
    same, least = ", the same memory" if machine.unified else "", memory_in_words(_LEAST_BESIDE)
    return [
        f"Memory here: {seen}; host {_room(machine.host, machine.host_free)}{same}.",
        f"The estimate is the files' size plus a tenth, at least {least}, for context and buffers, with nothing else "
        "loaded; a long context takes more.",
    ]


def _room(total: int, free: int | None) -> str:
    """The total, and the free part, which changes too fast to be part of the judgement."""
    return memory_in_words(total) + (f", {memory_in_words(free)} of it free" if free is not None else "")
