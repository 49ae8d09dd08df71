"""Measures what a starting engine does besides logging: bytes read, memory, processor time.

llama-server logs nothing while it reads weights, for minutes on a slow disk. An engine that reads, fills memory or
computes is slow and not hung.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import psutil

from app.engine.processes import descendants

# The health probe runs every 15 ms. It costs a hung engine about 3 % of a core, and a few small reads.
_LEAST_CPU_SHARE = 0.2
_LEAST_BYTES_PER_SECOND = 1 << 18


@dataclass(frozen=True, slots=True)
class Activity:
    """Sums over a process and its children: bytes read from files, resident bytes, seconds of processor time.

    `stopped` tells that a signal has stopped one of them, as Ctrl-Z does.
    """

    read: int = 0
    resident: int = 0
    cpu: float = 0.0
    stopped: bool = False

    def moved_since(self, earlier: Activity, seconds: float) -> bool:
        """Whether the difference to `before` within `seconds` shows that a start makes progress."""
        least = _LEAST_BYTES_PER_SECOND * seconds
        grown = max(self.read - earlier.read, self.resident - earlier.resident)
        return grown >= least or self.cpu - earlier.cpu >= _LEAST_CPU_SHARE * seconds


def activity_of(pid: int) -> Activity:
    """Zeros for a process that is gone or may not be inspected. Blocks for a millisecond."""
    processes: list[psutil.Process] = []
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        processes = [process, *descendants(process)]
    parts = [_of_one(process) for process in processes]
    return Activity(
        read=sum(p.read for p in parts),
        resident=sum(p.resident for p in parts),
        cpu=sum(p.cpu for p in parts),
        stopped=any(p.stopped for p in parts),
    )


def _of_one(process: psutil.Process) -> Activity:
    read = resident = 0
    cpu, stopped = 0.0, False
    with suppress(psutil.Error, OSError), process.oneshot():
        times = process.cpu_times()
        cpu = times.user + times.system
        resident = process.memory_info().rss
        stopped = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        # macOS counts no bytes per process
        counters = process.io_counters() if hasattr(process, "io_counters") else None
        if counters is not None:
            # read_chars includes the page cache; mapped weights show in read_bytes and in resident memory
            read = max(counters.read_bytes, getattr(counters, "read_chars", 0))
    return Activity(read, resident, cpu, stopped)
