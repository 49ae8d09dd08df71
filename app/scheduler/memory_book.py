"""What each engine takes of memory, and what all may take together: footprints, budgets, and what others use.

`planned` is called with each launch plan before it is started, so no engine starts whose needs are unknown.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app import logs
from app.engine.devices import Device
from app.engine.footprint.budget import MemoryPlace, budget, may_page, shortages
from app.engine.footprint.footprint import HOST
from app.engine.footprint.verdict import judge
from app.engine.launch import LaunchPlan
from app.errors import GgufError, InsufficientMemoryError

log = logs.get_logger("scheduler")


@dataclass(frozen=True, slots=True)
class SeenMemory:
    """This machine at one moment, in bytes; `devices` is None where no engine tells them.

    `host_others` is what processes that are none of ours hold and cannot give back.
    """

    devices: tuple[Device, ...] | None
    host: int
    host_others: int = 0


class MemoryBook:
    """Blocking looks are made in threads; everything else is told from the last of them."""

    def __init__(
        self,
        setting: Literal["auto"] | Mapping[str, int],
        margin: float,
        see: Callable[[], SeenMemory],
        up: Callable[[], Iterable[str]] = tuple,
        on_known: Callable[[], None] = lambda: None,
    ) -> None:
        """`see` looks at the machine and may block; `up` names the engines that hold memory now.

        `on_known` is called whenever it turns out whether the memory is known.
        """
        self._setting = setting
        self._margin = margin
        self._see = see
        self._up = up
        self._on_known = on_known
        self._needs: dict[str, Mapping[str, int]] = {}
        self._mapped: dict[str, int] = {}
        self._renewed: set[str] = set()
        self._places: dict[str, MemoryPlace] = {}
        self._devices: tuple[Device, ...] = ()
        self._looking = asyncio.Lock()
        # Whether the machine told its memory at the last look; None before the first
        self.known: bool | None = None

    def needs(self, alias: str) -> Mapping[str, int]:
        """Place -> bytes, empty where nothing is known."""
        return self._needs.get(alias, {})

    def mapped(self, alias: str) -> int:
        """Bytes of the host's part that are pages of files, and may be more than the host has room for."""
        return self._mapped.get(alias, 0)

    def budgets(self) -> dict[str, int]:
        """Place -> bytes for all engines of ours, empty where memory is not known."""
        return {name: budget(place, self._setting, self._margin) for name, place in self._places.items()}

    def holds(self, aliases: Iterable[str]) -> bool:
        """Whether these engines fit beside each other; one whose files are mapped may do so alone."""
        names = list(aliases)
        sizes: Counter[str] = Counter()
        for alias in names:
            sizes.update(self.needs(alias))
        return len(names) == 1 or not shortages(sizes, self.budgets())

    async def look(self) -> None:
        """Sees the machine anew."""
        async with self._looking:
            before = self.known
            self._seen(await asyncio.to_thread(self._see))
            if self.known is not before:
                self._on_known()

    def _seen(self, seen: SeenMemory) -> None:
        if seen.devices is None:
            if self.known is not False:
                log.warning("memory is unknown: llama-server lists no devices; one engine at a time unless max_loaded")
            self.known, self._places = False, {}
            return
        self.known, self._devices = True, seen.devices
        held: Counter[str] = Counter()
        for alias in self._up():
            held.update(self.needs(alias))
        self._places = {HOST: MemoryPlace(HOST, seen.host, seen.host_others)} | {
            device.name: MemoryPlace(device.name, device.total, max(device.total - device.free - held[device.name], 0))
            for device in seen.devices
        }

    async def planned(self, alias: str, plan: LaunchPlan) -> None:
        """Notes what `plan` takes; raises InsufficientMemoryError where it would not fit if it were alone."""
        await self.look()
        if not self.known:
            return
        host, devices, budgets = self._places[HOST].total, self._devices, self.budgets()
        try:
            pages = may_page(self._setting)
            verdict = await asyncio.to_thread(judge, plan.argv, devices, host, budgets, pages=pages)
        except GgufError as error:
            # Nothing that the engine itself would not tell better
            log.warning("footprint unknown", alias=alias, error=str(error))
            return
        footprint = verdict.footprint
        self._note(alias, footprint.by_device(), footprint.mapped if pages else 0)
        if verdict.paged:
            log.warning(f"memory: {verdict.paged}; it is slow, since its files are read again and again", alias=alias)
        if not verdict.fits:
            raise InsufficientMemoryError(alias, verdict.words(), verdict.figures())

    def _note(self, alias: str, needs: Mapping[str, int], mapped: int) -> None:
        if (self._needs.get(alias), self.mapped(alias)) != (needs, mapped):
            self._needs[alias], self._mapped[alias] = needs, mapped
            self._renewed.add(alias)

    def renewed(self) -> set[str]:
        """The aliases whose needs are others than when this was last asked."""
        renewed, self._renewed = self._renewed, set()
        return renewed

    def configure(self, setting: Literal["auto"] | Mapping[str, int], margin: float) -> None:
        """Other settings than before."""
        self._setting, self._margin = setting, margin

    def fields(self, up: Iterable[str]) -> list[dict[str, Any]]:
        """For `/admin/memory`: each place with its budget, and who of `up` holds how much of it; sizes in bytes."""
        budgets, aliases = self.budgets(), sorted(up)
        rows = []
        for name, place in self._places.items():
            engines = {alias: size for alias in aliases if (size := self.needs(alias).get(name))}
            rows.append(
                {
                    "name": name,
                    "total": place.total,
                    "others": place.others,
                    "budget": budgets[name],
                    "engines": engines,
                    "free": max(budgets[name] - sum(engines.values()), 0),
                }
            )
        return rows
