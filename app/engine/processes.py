"""Finds the children of a process.

psutil reads the parent of every process of the machine to find the children of one: tens of milliseconds, several times
a second while engines load. Linux lists them by process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_PROC = Path("/proc")


def descendants(process: psutil.Process, proc: Path = _PROC) -> list[psutil.Process]:
    """The children of `process`, and theirs. Raises psutil.Error."""
    if not (proc / str(process.pid) / "task" / str(process.pid) / "children").exists():  # an older kernel, or no Linux
        return process.children(recursive=True)
    found: list[psutil.Process] = []
    for pid in _below(process.pid, proc):
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def _below(pid: int, proc: Path) -> Iterator[int]:
    """Each thread lists the processes that it has started. A process that ends meanwhile has none."""
    with suppress(OSError):
        for thread in (proc / str(pid) / "task").iterdir():
            with suppress(OSError):
                for child in map(int, (thread / "children").read_text().split()):
                    yield child
                    yield from _below(child, proc)
