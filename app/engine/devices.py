"""The devices that a llama-server sees beside the processor, by its `--list-devices`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.engine.locate import EngineBinary
from app.engine.probe import ask
from app.errors import ProbeError

_HEAD = "Available devices:"
# `  CUDA0: NVIDIA GeForce RTX 4090 (24077 MiB, 23000 MiB free)`
_DEVICE = re.compile(r"^ +(\S+): (.+) \((\d+) MiB, (\d+) MiB free\)\s*$")


@dataclass(frozen=True, slots=True)
class Device:
    """`total` and `free` are its memory in bytes."""

    name: str
    description: str
    total: int
    free: int


def devices(
    engine: EngineBinary, own: Mapping[str, str] | None = None, running: set[subprocess.Popen[bytes]] | None = None
) -> tuple[Device, ...]:
    """None at all for a build for the processor alone. Raises ProbeError.

    `own` is an entry's environment, which can hide some; `running` holds the process for as long as it runs.
    """
    page = ask(engine, "--list-devices", running, own)
    if _HEAD not in page:
        raise ProbeError(f"{engine.origin}: --list-devices lists nothing")
    return parse(page)


def parse(page: str) -> tuple[Device, ...]:
    """What the page lists; lines of another form are none of its devices."""
    matches = (_DEVICE.match(line) for line in page.partition(_HEAD)[2].splitlines())
    return tuple(Device(m[1], m[2], int(m[3]) << 20, int(m[4]) << 20) for m in matches if m is not None)


def absent(names: str, there: Iterable[Device]) -> list[str]:
    """Which names of a `--device` list nobody has; llama.cpp compares them without case, and takes `none`."""
    known = {"none", *(device.name.lower() for device in there)}
    return [name for name in map(str.strip, names.split(",")) if name.lower() not in known]
