"""Reads the memory limits of this process's control groups: those of a container or a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of a version of control groups: limits, use, and the prefix of the sums in memory.stat."""

    limits: tuple[str, ...]
    used: str
    prefix: str = ""


# Above memory.high the kernel slows a group down and takes its memory away, so engines must stay below it too.
_SECOND = _Files(("memory.max", "memory.high"), "memory.current")
_FIRST = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_")


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """`limit` and `used` in bytes. `used` excludes file pages, which the kernel can drop.

    `used` is the part of `limit` that is not available: a group above may have less left than its own limit says.
    """

    limit: int
    used: int


def memory_group(root: Path = ROOT, own: Path = OWN) -> MemoryGroup | None:
    """The lowest limit of the process's own group and those above it, and the use of it; None without a limit."""
    groups = [group for folder, files in _folders(root, own) if (group := _group(folder, files)) is not None]
    if not groups:
        return None
    limit = min(group.limit for group in groups)
    left = min(group.limit - group.used for group in groups)
    return MemoryGroup(limit, limit - max(min(left, limit), 0))


def _folders(root: Path, own: Path) -> Iterator[tuple[Path, _Files]]:
    """Yields folders that may have a limit, the root too: containers often show the paths outside."""
    lines: list[str] = []
    with suppress(OSError):
        lines = own.read_text().splitlines()
    paths = {names: path for _, names, path in (line.split(":", 2) for line in lines if line.count(":") >= 2)}
    for top, path, files in (
        (root, paths.get("", "/"), _SECOND),
        (root / "memory", next((path for names, path in paths.items() if "memory" in names.split(",")), "/"), _FIRST),
    ):
        group = Path("/", *(part for part in path.split("/") if part != ".."))
        for folder in (group, *group.parents):
            yield top / folder.relative_to("/"), files


def _group(folder: Path, files: _Files) -> MemoryGroup | None:
    """None without a limit. A group without statistics counts as unused."""
    limits = [limit for name in files.limits if (limit := _number(folder / name)) is not None]
    if not limits:
        return None
    used = 0
    with suppress(OSError, ValueError, KeyError):
        rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        pages = int(rows[f"{files.prefix}inactive_file"]) + int(rows[f"{files.prefix}active_file"])
        used = max(int((folder / files.used).read_text()) - pages, 0)
    return MemoryGroup(min(limits), used)


def _number(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(file.read_text())  # `max` is no number
    return None
