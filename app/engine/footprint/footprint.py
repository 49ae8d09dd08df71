"""The memory of an engine, by device and by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from app.records.footprints import HeldMemory

HOST = "host"
Use = Literal["weights", "cache", "compute", "output"]
Whose = Literal["target", "draft", "projector", "adapters"]


@dataclass(frozen=True, slots=True)
class FootprintPart:
    """`size` bytes on `device`: `host`, or a name of `--list-devices`."""

    whose: Whose
    use: Use
    device: str
    size: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """The parts of an engine's memory; `context` is the context of the estimate, in tokens.

    `maps_files`: weights on the host are pages of their files. `measured` are sizes by device of an engine with the
    same launch plan. They replace the parts of that device.
    """

    parts: tuple[FootprintPart, ...]
    context: int = 0
    maps_files: bool = False
    measured: Mapping[str, HeldMemory] = field(default_factory=dict, hash=False)

    def by_device(self) -> dict[str, int]:
        """Device -> bytes, the host first; devices without any are left out."""
        sizes = self.estimated() | {name: held.size for name, held in self.measured.items()}
        return {name: size for name, size in sizes.items() if size or name == HOST}

    def estimated(self) -> dict[str, int]:
        """Device -> bytes by the parts alone."""
        sizes = Counter({HOST: 0})
        for part in self.parts:
            sizes[part.device] += part.size
        return dict(sizes)

    def by_use(self) -> dict[tuple[Whose, Use], int]:
        """Bytes of each use on all devices together."""
        sizes: Counter[tuple[Whose, Use]] = Counter()
        for part in self.parts:
            sizes[part.whose, part.use] += part.size
        return dict(sizes)

    def is_as_whole_as(self, other: Footprint) -> bool:
        """Whether `--fit` has left it as much context and as much on devices as `other`, of the same engine."""
        return self.context == other.context and self.estimated()[HOST] <= other.estimated()[HOST]

    def renamed(self, names: Mapping[str, str]) -> Footprint:
        """The same with other names of devices; those that `names` lacks stay."""
        parts = (replace(part, device=names.get(part.device, part.device)) for part in self.parts)
        return replace(self, parts=tuple(parts))

    @property
    def mapped(self) -> int:
        """Bytes on the host that the system may drop and read again from the files."""
        if HOST in self.measured:
            return self.measured[HOST].mapped
        own = (part for part in self.parts if part.whose in ("target", "draft") and part.use == "weights")
        return sum(part.size for part in own if part.device == HOST) if self.maps_files else 0

    @property
    def total(self) -> int:
        return sum(part.size for part in self.parts)


def parts(whose: Whose, use: Use, sizes: Mapping[str, float]) -> Iterable[FootprintPart]:
    """One part for each device with a size."""
    return [FootprintPart(whose, use, device, int(size)) for device, size in sizes.items() if size > 0]
