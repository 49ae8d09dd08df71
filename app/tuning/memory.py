"""Measures an engine's memory and the free memory, in bytes."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from app.engine.processes import descendants

_SMI_LIMIT_S = 10.0


def resident(pid: int) -> int | None:
    """Returns the resident memory of a process and its children. Mapped weights count as far as they are in memory."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *descendants(process)):
            with suppress(psutil.Error):
                total += member.memory_info().rss
    return total or None


async def on_gpus(pid: int) -> int | None:
    """Returns the memory on NVIDIA GPUs by nvidia-smi, or None if it is missing or does not list the process."""
    lines = await asyncio.to_thread(_smi, "--query-compute-apps=pid,used_memory")
    return sum_of(lines, pid)


def sum_of(lines: Iterable[str], pid: int) -> int | None:
    """Sums nvidia-smi's lines of `pid, MiB`, one for each GPU that the process uses."""
    sizes = []
    for line in lines:
        owner, _, used = line.partition(",")
        if owner.strip() == str(pid) and used.strip().isdigit():
            sizes.append(int(used) << 20)
    return sum(sizes) if sizes else None


def free() -> int:
    """Returns the memory that processes can use without swapping."""
    return int(psutil.virtual_memory().available)


def room_for_all(sizes: Sequence[int]) -> bool:
    """Tells whether engines with files of these sizes fit at once: they take less than half of the free memory.

    Returns False for a GPU of unknown memory.
    """
    if sum(sizes) * 2 >= free():
        return False
    lines = _smi("--query-gpu=memory.free")
    if lines:
        return sum(sizes) * 2 < sum(int(line) << 20 for line in lines if line.strip().isdigit())
    return sys.platform == "darwin" or not (Path("/dev/kfd").exists() or any(Path("/dev").glob("dri/renderD*")))


def _smi(query: str) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    with suppress(OSError, subprocess.SubprocessError):
        command = [program, query, "--format=csv,noheader,nounits"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_LIMIT_S, check=True)
        return done.stdout.splitlines()
    return []
