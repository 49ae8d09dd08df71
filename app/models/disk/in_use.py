"""Finds processes that use a model's files, such as engines of this or another program."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.models.gguf.filenames import is_gguf


@dataclass(frozen=True, slots=True)
class UsingProcess:
    """A process: its id and name."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def holders(paths: Collection[Path]) -> list[UsingProcess]:
    """Returns the processes that have a file open or mapped, or have it in their command line (they may have read it
    whole).

    It compares inodes, not names, since a link has another name.
    """
    identities = {identity for path in paths if (identity := _identity(path)) is not None}
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and not identities.isdisjoint(map(_identity, set(_names(process)))):
                processes.append(UsingProcess(process.pid, process.name()))
    return processes


def _identity(path: str | Path) -> tuple[int, int] | None:
    with suppress(OSError, ValueError):
        status = Path(path).stat()
        return status.st_dev, status.st_ino
    return None


def _names(process: psutil.Process) -> Iterator[str | Path]:
    words = [word for word in process.cmdline() if is_gguf(word)]
    if words:
        folder = Path(process.cwd())
        yield from (folder / word for word in words)
    with suppress(psutil.Error):
        yield from (file.path for file in process.open_files())
    yield from _mapped(process.pid)


def _mapped(pid: int) -> Iterator[str]:
    # psutil's memory_maps reads smaps, for which the kernel walks the page tables of 200 GB. Systems other than Linux
    # have neither; there the command line identifies an engine.
    with suppress(OSError), Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            name = line.rstrip("\n").split(None, 5)[5:]
            if name and name[0].startswith("/"):
                yield name[0]
