"""How much memory an engine takes, by device and by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

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
    """The parts of an engine's memory; `context` is the context that they were worked out for, in tokens.

    `maps_files`: weights on the host are pages of their files.
    """

    parts: tuple[FootprintPart, ...]
    context: int = 0
    maps_files: bool = False

    def by_device(self) -> dict[str, int]:
        """Device -> bytes, the host first; devices that hold nothing are left out."""
        sizes = Counter({HOST: 0})
        for part in self.parts:
            sizes[part.device] += part.size
        return {name: size for name, size in sizes.items() if size or name == HOST}

    def by_use(self) -> dict[tuple[Whose, Use], int]:
        """Bytes on all devices together."""
        sizes: Counter[tuple[Whose, Use]] = Counter()
        for part in self.parts:
            sizes[part.whose, part.use] += part.size
        return dict(sizes)

    @property
    def mapped(self) -> int:
        """Bytes on the host that the system may drop and read again from the files."""
        own = (part for part in self.parts if part.whose in ("target", "draft") and part.use == "weights")
        return sum(part.size for part in own if part.device == HOST) if self.maps_files else 0

    @property
    def total(self) -> int:
        return sum(part.size for part in self.parts)


def parts(whose: Whose, use: Use, sizes: Mapping[str, float]) -> Iterable[FootprintPart]:
    """One part for each device that holds something."""
    return [FootprintPart(whose, use, device, int(size)) for device, size in sizes.items() if size > 0]
