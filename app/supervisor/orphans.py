"""Ends engines that an earlier gateway left behind, found by a marker in their environment.

On Linux the kernel ends children with their gateway. The sweep covers systems and moments where it does not: macOS, or
a gateway killed between fork and prctl. A child is ended only if the gateway in its marker (pid and start time) is
gone, so two gateways never touch each other's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

MARKER = "LLAMA_TANDEM_GATEWAY"
_PROC = Path("/proc")


def marker() -> str:
    """`<pid>:<start time in seconds>` of this process."""
    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"


def orphaned(value: str) -> bool:
    """Whether the gateway of this marker is gone."""
    pid, _, started = value.partition(":")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > 1
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.Error):
        return False


def sweep() -> list[int]:
    """Kills the orphans that this user may kill, and returns their pids."""
    swept = []
    for pid in filter(may_be_marked, psutil.pids()):
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            value = process.environ().get(MARKER)
            if value and orphaned(value):
                process.kill()
                swept.append(process.pid)
    return swept


def may_be_marked(pid: int) -> bool:
    """Whether a process may have the marker, by Linux's own file.

    psutil reads three more for each process of the machine, 20 ms in all.
    """
    if not (_PROC / "self").exists():
        return True
    with suppress(OSError):
        return MARKER.encode() in (_PROC / str(pid) / "environ").read_bytes()
    return False
