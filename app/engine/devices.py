"""Lists the devices of a llama-server, by its `--list-devices`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.engine.locate import EngineBinary
from app.engine.probe import RunningProbes, ask
from app.errors import ProbeError

_HEAD, _NONE = "Available devices:", "(none)"
# `  CUDA0: NVIDIA GeForce RTX 4090 (24077 MiB, 23000 MiB free)`
_DEVICE = re.compile(r"^ +(\S+): (.+) \((\d+) MiB, (\d+) MiB free\)\s*$")


@dataclass(frozen=True, slots=True)
class Device:
    """One device; `total` and `free` are its memory in bytes."""

    name: str
    description: str
    total: int
    free: int


def devices(
    engine: EngineBinary, own: Mapping[str, str] | None = None, running: RunningProbes | None = None
) -> tuple[Device, ...]:
    """Empty for a build without device support. Raises ProbeError.

    `own` is an entry's environment, which can hide devices. `running` contains the process while it runs.
    """
    page = ask(engine, "--list-devices", running, own)
    if _HEAD not in page:
        raise ProbeError(f"{engine.origin}: --list-devices lists nothing")
    listed, lines = parse(page), page.partition(_HEAD)[2].split("\n")
    strange = next((line.strip() for line in lines if line.strip() not in ("", _NONE)), "")
    if strange and not listed:
        raise ProbeError(f"{engine.origin}: --list-devices names devices in an unknown form: {strange}")
    return listed


def parse(page: str) -> tuple[Device, ...]:
    """The devices on the page; lines of another form are skipped."""
    matches = (_DEVICE.match(line) for line in page.partition(_HEAD)[2].splitlines())
    return tuple(Device(m[1], m[2], int(m[3]) << 20, int(m[4]) << 20) for m in matches if m is not None)


def absent(names: str, seen: Iterable[Device]) -> list[str]:
    """The names of a `--device` list that no device has. llama.cpp ignores their case, and allows `none`."""
    known = {"none", *(device.name.lower() for device in seen)}
    return [name for name in map(str.strip, names.split(",")) if name.lower() not in known]
