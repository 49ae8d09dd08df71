"""Whether an engine fits alone, with the figures and what would help. Pure.

`check`, `plan` and refusals say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.engine.devices import Device
from app.engine.footprint.budget import MemoryPlace, budget, shortage_in_words, shortages
from app.engine.footprint.estimate import estimate
from app.engine.footprint.footprint import HOST, Footprint
from app.engine.footprint.remedies import remedies
from app.records.footprints import HeldMemory
from app.terminal import memory_in_words


@dataclass(frozen=True, slots=True)
class MemoryVerdict:
    """`short` says what is missing where, `helps` what would make it fit; both are empty where it fits.

    `paged` says what the host lacks of an engine that fits only since its files are mapped; it starts alone, slowly.
    """

    footprint: Footprint
    budgets: Mapping[str, int]
    short: str = ""
    helps: tuple[str, ...] = ()
    paged: str = ""

    @property
    def fits(self) -> bool:
        return not self.short

    def needs(self) -> str:
        """`CUDA0 8.20 GiB (weights 7.80 GiB, cache 300.00 MiB, buffers 100.00 MiB), host 400.00 MiB (...)`"""
        sizes = self.footprint.by_device()
        held = [f"{name} {memory_in_words(sizes[name])} ({self._why(name)})" for name in sizes if sizes[name]]
        return ", ".join(held) or "nothing that its headers tell"

    def words(self) -> str:
        """A sentence: it fits, or what is missing and what would help."""
        if self.paged:
            return (
                f"{self.paged}: it starts with nothing beside it on the host, and reads its files again and again, "
                "which is slow"
            )
        if self.fits:
            rooms = ", ".join(f"{name} {memory_in_words(self.budgets[name])}" for name in self._named())
            return f"fits; engines may take {rooms}"
        helps = f" One of these would make it fit: {'; '.join(self.helps)}." if self.helps else ""
        return f"it does not fit, even alone: {self.short}.{helps}"

    def figures(self) -> dict[str, Any]:
        """The same for a program; sizes in bytes."""
        return {
            "footprint": self.footprint.by_device(),
            "budgets": dict(self.budgets),
            "measured": {name: held.source for name, held in self.footprint.measured.items()},
            "fits": self.fits,
            "paged": bool(self.paged),
            "would_fit_with": list(self.helps),
        }

    def _named(self) -> list[str]:
        return [name for name in self.footprint.by_device() if name in self.budgets]

    def _why(self, name: str) -> str:
        """Of what it consists, or how it is known."""
        held = self.footprint.measured.get(name)
        return self._parts(name) if held is None else found_by(held)

    def _parts(self, name: str) -> str:
        uses: dict[str, int] = {}
        for part in self.footprint.parts:
            if part.device == name:
                use = "buffers" if part.use in ("compute", "output") else part.use
                label = use if part.whose == "target" else f"{part.whose} {use}"
                uses[label] = uses.get(label, 0) + part.size
        return ", ".join(f"{label} {memory_in_words(size)}" for label, size in uses.items())


_FOUND_BY = {
    "engine": "as the engine itself reports",
    "nvml": "measured by NVML",
    "process": "measured of its process",
    "out of memory": "at least: with less a start ran out of memory",
}


def found_by(held: HeldMemory) -> str:
    """In words, how a figure is known."""
    return _FOUND_BY.get(held.source, "measured")


def judge(
    argv: Sequence[str],
    devices: Sequence[Device],
    host: int,
    budgets: Mapping[str, int],
    *,
    pages: bool = False,
    measured: Mapping[str, HeldMemory] | None = None,
) -> MemoryVerdict:
    """Of an engine with this command line; raises GgufError.

    `pages`: files that are mapped may be larger than the budget of the host, as llama-server itself allows.
    `measured` is what an engine of this launch plan was found to take.
    """
    footprint = replace(estimate(argv, devices, host), measured=measured or {})
    short = shortage_in_words(footprint.by_device(), budgets)
    if not short:
        return MemoryVerdict(footprint, budgets)
    enough = dict(budgets)
    if pages and HOST in budgets:
        enough[HOST] += footprint.mapped
    if not shortages(footprint.by_device(), enough):
        return MemoryVerdict(footprint, budgets, paged=short)
    estimated = footprint.estimated()
    for name, held in footprint.measured.items():
        # Changes are worked out: what the estimate lacks they would take as well
        if name in enough:
            enough[name] -= max(held.size - estimated.get(name, 0), 0)
    return MemoryVerdict(footprint, budgets, short, tuple(remedies(argv, devices, host, enough)))


def why_without_draft(whole: MemoryVerdict, without: MemoryVerdict) -> str:
    """Why an optional draft is left out: that is what makes the model fit. Empty where it is not."""
    if not without.fits or not (whole.short or (whole.paged and not without.paged)):
        return ""
    return f"The draft is optional and left out: with it {whole.short or whole.paged}."


def budgets_alone(
    devices: Sequence[Device], host: int, setting: Literal["auto"] | Mapping[str, int], margin: float
) -> dict[str, int]:
    """What engines may take of a machine on which nothing else runs."""
    places = [MemoryPlace(HOST, host), *(MemoryPlace(device.name, device.total) for device in devices)]
    return {place.name: budget(place, setting, margin) for place in places}
