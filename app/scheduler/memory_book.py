"""What each engine takes of memory, and what all may take together: footprints, budgets, and what others use.

`planned` is called with each launch plan before it is started, so no engine starts whose needs are unknown; `came_up`
puts what is found in their place, and `starved` what a start has run out of.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app import logs
from app.engine.devices import Device
from app.engine.footprint.budget import MemoryPlace, budget, may_page, shortage_in_words, shortages
from app.engine.footprint.footprint import HOST
from app.engine.footprint.verdict import MemoryVerdict, judge, why_without_draft
from app.engine.launch import LaunchPlan
from app.errors import Diagnosis, GgufError, InsufficientMemoryError
from app.records.footprints import HeldMemory
from app.scheduler.memory_truth import OUT_OF_MEMORY, MemoryTruth, RunningPlan

log = logs.get_logger("scheduler")

# A start that ran out of memory needs more than was free: by so much at least, in bytes.
_MORE = 1 << 20
# Engines that are up are measured again so often at the most, in seconds: it takes some milliseconds each.
AGAIN_S = 5.0


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
        truth: MemoryTruth | None = None,
    ) -> None:
        """`see` looks at the machine and may block; `up` names the engines that hold memory now.

        `on_known` is called whenever it turns out whether the memory is known. Without `truth` estimates hold.
        """
        self._setting = setting
        self._margin = margin
        self._see = see
        self._up = up
        self._on_known = on_known
        self._truth = truth
        # Engines that are up, and what they took when they had come up; what starts ran out of that have not come up
        self._running: dict[str, RunningPlan] = {}
        self._at_load: dict[str, tuple[Mapping[str, int], int]] = {}
        self._starved: dict[str, dict[str, tuple[int, int]]] = {}
        self._needs: dict[str, Mapping[str, int]] = {}
        self._mapped: dict[str, int] = {}
        self._renewed: set[str] = set()
        self._places: dict[str, MemoryPlace] = {}
        self._devices: tuple[Device, ...] = ()
        self._looking = asyncio.Lock()
        self._measured_at = -math.inf
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
            await self._look_at_engines()
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

    async def planned(
        self,
        alias: str,
        plan: LaunchPlan,
        without_draft: Callable[[str], Awaitable[LaunchPlan]] | None = None,
    ) -> LaunchPlan:
        """Notes what `plan` takes, and gives it back; raises InsufficientMemoryError where it would not fit alone.

        `without_draft` plans again for a reason, and that plan is given where only it fits and the draft is optional.
        """
        await self.look()
        if not self.known:
            return plan
        try:
            verdict = await self._judged(plan)
            if plan.draft_is_optional and without_draft is not None and (verdict.short or verdict.paged):
                less = await without_draft("")
                lighter = await self._judged(less)
                if why := why_without_draft(verdict, lighter):
                    plan, verdict = await without_draft(why), lighter
                    log.warning("the draft is left out", alias=alias, reason=why)
        except GgufError as error:
            # Nothing that the engine itself would not tell better
            log.warning("footprint unknown", alias=alias, error=str(error))
            return plan
        footprint, budgets = verdict.footprint, verdict.budgets
        needs, starved = footprint.by_device(), self._starved.get(alias, {})
        for name, (learned, _) in starved.items():
            if learned <= budgets.get(name, 0):
                needs[name] = max(learned, needs.get(name, 0))
        self._note(alias, needs, footprint.mapped if may_page(self._setting) else 0)
        if verdict.paged:
            log.warning(f"memory: {verdict.paged}; it is slow, since its files are read again and again", alias=alias)
        if not verdict.fits:
            raise InsufficientMemoryError(alias, verdict.words(), verdict.figures())
        return plan

    async def _judged(self, plan: LaunchPlan) -> MemoryVerdict:
        """Raises GgufError."""
        host, devices, budgets = self._places[HOST].total, self._devices, self.budgets()
        measured = {} if self._truth is None else await asyncio.to_thread(self._truth.known, plan)
        pages = may_page(self._setting)
        return await asyncio.to_thread(judge, plan.argv, devices, host, budgets, pages=pages, measured=measured)

    def _note(self, alias: str, needs: Mapping[str, int], mapped: int) -> None:
        if (self._needs.get(alias), self.mapped(alias)) != (needs, mapped):
            self._needs[alias], self._mapped[alias] = needs, mapped
            self._renewed.add(alias)

    # -- what is found -------------------------------------------------------------------------------------------

    async def came_up(self, alias: str, engine: RunningPlan) -> None:
        """What it takes holds from now on, and is kept for its next start."""
        truth = self._truth
        if truth is None or not self.known:
            return
        async with self._looking:
            held = await asyncio.to_thread(truth.measured, engine, self._devices)
        if not held:
            return
        self._running[alias] = engine
        starved = self._proved(alias)
        # What nobody can measure is still known to be more than was there
        held = {name: HeldMemory(size, source=OUT_OF_MEMORY) for name, size in starved.items()} | held
        estimated, before = dict(self.needs(alias)), self.mapped(alias)
        self._found(alias, held)
        self._at_load[alias] = self._needs[alias], self.mapped(alias)
        if short := shortage_in_words(self.needs(alias), self._enough_for(alias)):
            log.warning(f"memory: {short}; its next start is refused unless there is more", alias=alias)
        log.debug("memory measured", alias=alias, estimated=estimated, mapped=before, measured=self._needs[alias])
        await asyncio.to_thread(truth.keep, engine.plan, held)

    def _proved(self, alias: str) -> dict[str, int]:
        """What its starts ran out of, now that it is up; nothing where it fits beside the same others after all."""
        starved = self._starved.pop(alias, {})
        up = set(self._up()) | {alias}
        if starved and not self.holds(up):
            # Somebody else had the memory, and has given it back
            needs = {name: before for name, (_, before) in starved.items()}
            self._note(alias, {**self.needs(alias), **needs}, self.mapped(alias))
            return {}
        return {name: learned for name, (learned, _) in starved.items()}

    def _enough_for(self, alias: str) -> dict[str, int]:
        """The budgets, with what may be paged."""
        budgets = self.budgets()
        return budgets | ({HOST: budgets[HOST] + self.mapped(alias)} if HOST in budgets else {})

    def left(self, alias: str) -> None:
        """Its process is gone; what it had grown to is not what it starts with."""
        if self._running.pop(alias, None) is not None:
            self._note(alias, *self._at_load.pop(alias))

    def starved(self, alias: str, diagnosis: Diagnosis, beside: Iterable[str]) -> None:
        """Its start ran out of memory that should have been enough, `beside` others: it needs more than that was."""
        held: Counter[str] = Counter()
        for other in beside:
            held.update(self.needs(other))
        for name in _ran_out(diagnosis, [name for name, size in self.needs(alias).items() if size and name != HOST]):
            limit = self.budgets().get(name, 0)
            learned, before = min(limit - held[name] + _MORE, limit), self.needs(alias).get(name, 0)
            if held[name] and learned > before:
                kept = self._starved.setdefault(alias, {})
                kept[name] = learned, kept[name][1] if name in kept else before
                self._note(alias, {**self.needs(alias), name: learned}, self.mapped(alias))
                log.warning("it ran out of memory: it needs more than was worked out", alias=alias, **{name: learned})

    async def _look_at_engines(self) -> None:
        """Engines may grow, by the prompts that they keep; while they are up that counts."""
        now = asyncio.get_running_loop().time()
        if now < self._measured_at + AGAIN_S:
            return
        self._measured_at = now
        for alias, engine in list(self._running.items()):
            if self._truth is not None and (
                held := await asyncio.to_thread(self._truth.measured, engine, self._devices)
            ):
                grown = {name: one for name, one in held.items() if one.size > self.needs(alias).get(name, 0)}
                if alias in self._running:
                    self._found(alias, grown)

    def _found(self, alias: str, held: Mapping[str, HeldMemory]) -> None:
        needs = {**self.needs(alias), **{name: one.size for name, one in held.items()}}
        mapped = held[HOST].mapped if HOST in held and may_page(self._setting) else self.mapped(alias)
        self._note(alias, needs, mapped)

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


def _ran_out(diagnosis: Diagnosis, devices: list[str]) -> list[str]:
    """Where, as far as the engine's words tell."""
    if diagnosis.code == "host_memory" or not devices:
        return [HOST]
    if number := re.search(r"on device (\d+)", diagnosis.cause):
        named = [name for name in devices if re.fullmatch(rf"\D+{number[1]}", name)]
        return named[:1]
    return devices if len(devices) == 1 else []
