"""What a process holds, by the words of the operating system."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.engine.process_memory import memory_of, own_memory

MIB = 1 << 20


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    """A file of 8 MiB."""
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(8 * MIB))
    return path


def test_what_is_mapped_counts_whole_and_apart(mapping: Path) -> None:
    """Not a page of it has been read, and it may all have to be in memory."""
    with mapping.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        held = memory_of(os.getpid(), [mapping])
        assert held is not None and held.mapped == 8 * MIB and held.own > 8 * MIB
    after = memory_of(os.getpid(), [mapping])
    assert after is not None and after.mapped == 0


def test_a_wrappers_child_is_its_own(mapping: Path) -> None:
    """A shell that runs the engine holds little itself."""
    script = "x = bytearray(64 << 20); print(1, flush=True); input()"
    command = ["sh", "-c", f"'{sys.executable}' -c '{script}'; true"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        held = memory_of(process.pid, [mapping])
        assert held is not None and held.own > 64 * MIB and len(held.pids) == 2
        process.communicate(b"\n")
    assert memory_of(process.pid, []) is None


def test_what_is_swapped_out_is_held(tmp_path: Path) -> None:
    (tmp_path / str(os.getpid())).mkdir()
    (tmp_path / str(os.getpid()) / "status").write_text("Name:\tpython\nVmSwap:\t  10240 kB\n")
    process = psutil.Process()
    memory = process.memory_info()
    private = memory.rss - getattr(memory, "shared", 0)
    assert abs(own_memory(process, tmp_path) - private - 10 * MIB) < 4 * MIB
