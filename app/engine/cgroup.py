"""Reads the memory limits of this process's control groups: those of a container or a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Of cgroup v2 and v1: the files of limit and use, and the prefix of the sums in memory.stat
_SECOND = ("memory.max", "memory.current", "")
_FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """`limit` and `used` in bytes. `used` excludes file pages, which the kernel can drop."""

    limit: int
    used: int


def memory_group(root: Path = ROOT, own: Path = OWN) -> MemoryGroup | None:
    """The group with the lowest limit among the process's own and its ancestors; None without a limit."""
    groups = [group for folder, names in _folders(root, own) if (group := _group(folder, names)) is not None]
    return min(groups, key=lambda group: group.limit, default=None)


def _folders(root: Path, own: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yields folders that may have a limit, the root too: containers often show the paths outside."""
    lines: list[str] = []
    with suppress(OSError):
        lines = own.read_text().splitlines()
    paths = {names: path for _, names, path in (line.split(":", 2) for line in lines if line.count(":") >= 2)}
    for top, path, names in (
        (root, paths.get("", "/"), _SECOND),
        (root / "memory", next((path for names, path in paths.items() if "memory" in names.split(",")), "/"), _FIRST),
    ):
        group = Path("/", *(part for part in path.split("/") if part != ".."))
        for folder in (group, *group.parents):
            yield top / folder.relative_to("/"), names


def _group(folder: Path, names: tuple[str, str, str]) -> MemoryGroup | None:
    limit, used, prefix = names
    with suppress(OSError, ValueError, KeyError):
        most = int((folder / limit).read_text())  # `max` is no number
        rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        files = int(rows[f"{prefix}inactive_file"]) + int(rows[f"{prefix}active_file"])
        return MemoryGroup(most, max(int((folder / used).read_text()) - files, 0))
    with suppress(OSError, ValueError):
        return MemoryGroup(int((folder / limit).read_text()), 0)
    return None
