"""Judges whether an engine fits alone, with figures and remedies. Pure.

`check`, `plan` and refusals show the same verdict.
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
from app.engine.visible_devices import as_named
from app.records.footprints import HeldMemory
from app.terminal import memory_in_words


@dataclass(frozen=True, slots=True)
class MemoryVerdict:
    """`short` is the missing memory by place, `helps` the changes that make it fit; both are empty if it fits.

    `paged` is the host's missing memory for an engine that fits only because its files are mapped. It starts alone, and
    is slow.
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
        return ", ".join(held) or "unknown: its headers lack the sizes"

    def words(self) -> str:
        """A sentence: it fits, or the missing memory and the remedies."""
        if self.paged:
            return (
                f"{self.paged}: it starts only with no other engine on the host, and reads its files repeatedly, "
                "which is slow"
            )
        if self.fits:
            rooms = ", ".join(f"{name} {memory_in_words(self.budgets[name])}" for name in self._named())
            return f"fits; engines may take {rooms}"
        helps = f" One of these would make it fit: {'; '.join(self.helps)}." if self.helps else ""
        return f"it does not fit, even alone: {self.short}.{helps}"

    def figures(self) -> dict[str, Any]:
        """The verdict as JSON; sizes in bytes."""
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
        """The parts of a figure, or its source."""
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
    "process": "measured by its process",
    "out of memory": "at least: a start with less ran out of memory",
}


def found_by(held: HeldMemory) -> str:
    """The source of a measured figure, as a text."""
    return _FOUND_BY.get(held.source, "measured")


def judge(
    argv: Sequence[str],
    devices: Sequence[Device] | Mapping[str, Device],
    host: int,
    budgets: Mapping[str, int],
    *,
    pages: bool = False,
    measured: Mapping[str, HeldMemory] | None = None,
) -> MemoryVerdict:
    """The verdict on an engine with this command line. Raises GgufError.

    `devices` may be a mapping, from the engine's names to this machine's devices. The verdict, `budgets` and `measured`
    have the machine's names. `pages`: mapped files may exceed the host's budget, as llama-server itself allows.
    `measured` are the sizes of an engine with this launch plan.
    """
    seen = devices if isinstance(devices, Mapping) else {device.name: device for device in devices}
    names = {name: device.name for name, device in seen.items()}
    estimated = estimate(argv, as_named(seen), host).renamed(names)
    footprint = replace(estimated, measured=measured or {})
    short = shortage_in_words(footprint.by_device(), budgets)
    if not short:
        return MemoryVerdict(footprint, budgets)
    enough = dict(budgets)
    if pages and HOST in budgets:
        enough[HOST] += footprint.mapped
    if not shortages(footprint.by_device(), enough):
        return MemoryVerdict(footprint, budgets, paged=short)
    sizes = footprint.estimated()
    for name, held in footprint.measured.items():
        # Remedies are estimated, so the part that the estimate lacks is subtracted from the budget
        if name in enough:
            enough[name] -= max(held.size - sizes.get(name, 0), 0)
    its_own = {name: enough[names.get(name, name)] for name in (HOST, *seen) if names.get(name, name) in enough}
    return MemoryVerdict(footprint, budgets, short, tuple(remedies(argv, as_named(seen), host, its_own)))


def judge_beside(
    argv: Sequence[str],
    now: Mapping[str, Device],
    emptied: Mapping[str, Device],
    host: int,
    budgets: Mapping[str, int],
    *,
    pages: bool = False,
    measured: Mapping[str, HeldMemory] | None = None,
) -> MemoryVerdict:
    """Like `judge`, for a start beside other engines: `now` are the devices with them, `emptied` without them.

    `--fit` shrinks an engine to what is free. If that would be less than on emptied devices, the others make room
    first.
    """
    verdict = judge(argv, now, host, budgets, pages=pages, measured=measured)
    if now == emptied:
        return verdict
    alone = judge(argv, emptied, host, budgets, pages=pages, measured=measured)
    return verdict if verdict.footprint.is_as_whole_as(alone.footprint) else alone


def why_without_draft(whole: MemoryVerdict, without: MemoryVerdict) -> str:
    """The reason why an optional draft is dropped: the model fits only without it. Empty if it does not help."""
    if not without.fits or not (whole.short or (whole.paged and not without.paged)):
        return ""
    return f"The optional draft is not loaded: with it {whole.short or whole.paged}."


def budgets_alone(
    devices: Sequence[Device], host: int, setting: Literal["auto"] | Mapping[str, int], margin: float
) -> dict[str, int]:
    """The budgets on a machine with no other programs."""
    places = [MemoryPlace(HOST, host), *(MemoryPlace(device.name, device.total) for device in devices)]
    return {place.name: budget(place, setting, margin) for place in places}
