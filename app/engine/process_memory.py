"""Measures the host memory that processes hold, as the operating system reports it.

A process has its own memory (resident and not shared, or swapped out) and pages of mapped files. The mapped part counts
as a whole, whether it is in memory at the moment or not: it is read whenever it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.engine.processes import descendants


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Bytes of a process and its children; `pids` are theirs."""

    own: int
    mapped: int
    pids: tuple[int, ...]


def memory_of(pid: int, files: Iterable[Path], proc: Path = Path("/proc")) -> ProcessMemory | None:
    """Returns a process's memory, None if it has ended. `files` are those that it may map. Blocks for milliseconds."""
    try:
        process = psutil.Process(pid)
        family = [process, *descendants(process)]
    except psutil.Error:
        return None
    names = {str(path) for path in files} | {str(path.resolve()) for path in files}
    own = mapped = 0
    for member in family:
        with suppress(psutil.Error, OSError):
            own += own_memory(member, proc)
            mapped += _mapped(proc / str(member.pid) / "maps", names)
    return ProcessMemory(own, mapped, tuple(member.pid for member in family)) if own else None


def own_memory(process: psutil.Process, proc: Path = Path("/proc")) -> int:
    """Bytes that no other process could free for it. Raises psutil.Error."""
    memory = process.memory_info()
    # All resident memory counts if the shared part is unknown
    return max(memory.rss - getattr(memory, "shared", 0), 0) + _swapped(proc / str(process.pid) / "status")


def _swapped(status: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in status.read_text().splitlines():
            if line.startswith("VmSwap:"):
                return int(line.split()[1]) << 10
    return 0


def _mapped(maps: Path, names: set[str]) -> int:
    """Bytes of these files in a list of mappings. No page is read, so large files cost no more than small ones."""
    size = 0
    with suppress(OSError, ValueError):
        for line in maps.read_text(errors="surrogateescape").splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5] in names:
                begin, _, end = fields[0].partition("-")
                size += int(end, 16) - int(begin, 16)
    return size
