"""A real NVIDIA card as its driver sees it, and another program that takes memory of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

# A program of its own, with the driver's library alone. It ends with its stdin.
_HOLDER = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code:
        sys.exit(f"{name}: error {code}")
device, context, place = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
call("cuInit", 0)
call("cuDeviceGet", ctypes.byref(device), 0)
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
call("cuCtxSetCurrent", context)
call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(int(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class CardMemory:
    """Bytes of the first card; `held` are those of each process."""

    name: str
    total: int
    used: int
    held: dict[int, int]

    @property
    def free(self) -> int:
        return self.total - self.used

    def of(self, pids: Collection[int]) -> int:
        """What these processes hold together."""
        return sum(size for pid, size in self.held.items() if pid in pids)


def card_memory() -> CardMemory:
    """Asks NVML. Raises ImportError or NVMLError where there is none."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return CardMemory(
        name=pynvml.nvmlDeviceGetName(handle),
        total=int(memory.total),
        used=int(memory.total - memory.free),
        held={process.pid: int(process.usedGpuMemory or 0) for process in processes},
    )


def why_no_card() -> str:
    """Why tests of a card cannot run here; empty if they can."""
    try:
        import pynvml
    except ImportError:
        return "nvidia-ml-py is not installed: make gpu"
    try:
        pynvml.nvmlInit()
        return "" if pynvml.nvmlDeviceGetCount() else "no NVIDIA device"
    except pynvml.NVMLError as error:
        return f"no NVIDIA device: {error}"


@contextmanager
def held_elsewhere(size: int) -> Iterator[int]:
    """Another program holds `size` bytes of the card; its pid."""
    command = [sys.executable, "-c", _HOLDER, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            yield holder.pid
        finally:
            holder.stdin.close()
            holder.wait()


def report(what: str, **figures: Any) -> None:
    """Prints figures, and appends them to the file that GPU_FIGURES names, as a line of JSON."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[2].partition(" ")[0]
    line = {"test": test, "what": what, **figures}
    print(json.dumps(line))
    if name := os.environ.get("GPU_FIGURES"):
        with open(name, "a", encoding="utf-8") as file:  # noqa: PTH123 - one write appends a whole line
            file.write(json.dumps(line) + "\n")


GPU = [pytest.mark.gpu, pytest.mark.xdist_group("gpu")]
