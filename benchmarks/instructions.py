"""Counts the instructions of processes with `perf stat`, where the machine counts them.

Unlike CPU time they do not move with a noisy neighbour. Virtual machines often have no counter.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

_EVENT = "instructions"
_READY_S = 5.0


@cache
def _perf() -> str | None:
    """The program, if it counts instructions here."""
    program = shutil.which("perf")
    if program is None:
        return None
    done = subprocess.run([program, "stat", "-x,", "-e", _EVENT, "true"], capture_output=True, text=True, check=False)
    return program if _count(done.stderr) is not None else None


def _count(report: str) -> int | None:
    """The number in perf's report: its first column, or words where there is no counter."""
    for line in report.splitlines():
        number, _, rest = line.partition(",")
        if _EVENT in rest and number.isdigit():
            return int(number)
    return None


class Counted:
    """`instructions` once the block has ended; None where they are not counted."""

    instructions: int | None = None


@contextmanager
def counted(pids: Iterable[int]) -> Iterator[Counted]:
    """Counts what the processes execute while the block runs, in the kernel too if it lets itself be counted."""
    result, program = Counted(), _perf()
    if program is None:
        yield result
        return
    command = [program, "stat", "-x,", "-e", _EVENT, "-p", ",".join(map(str, pids))]
    perf = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield result
    finally:
        perf.send_signal(signal.SIGINT)
        _, report = perf.communicate(timeout=_READY_S)
        result.instructions = _count(report)
