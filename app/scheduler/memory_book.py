"""Keeps each engine's memory needs, the budgets of all engines together, and the use by other processes.

`planned` runs for each launch plan before its start, so no engine with unknown needs starts. `came_up` replaces the
estimate by measured sizes. `starved` raises it after a start that ran out of memory.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

from app import logs
from app.engine.devices import Device
from app.engine.footprint.budget import MemoryPlace, budget, may_page, shortage_in_words, shortages, unknown_places
from app.engine.footprint.footprint import HOST
from app.engine.footprint.verdict import MemoryVerdict, why_without_draft
from app.engine.launch import LaunchPlan
from app.errors import Diagnosis, GgufError, InsufficientMemoryError
from app.records.footprints import HeldMemory
from app.supervisor.machine_memory import MachineMemory, MemoryBounds, ThisMachineMemory
from app.supervisor.memory_sight import SeenMemory
from app.supervisor.memory_truth import OUT_OF_MEMORY, MemoryTruth, RunningPlan, allocated, learned_size, ran_out_of

log = logs.get_logger("scheduler")

# The shortest time between two measurements of running engines, in seconds. Each takes some milliseconds.
AGAIN_S = 5.0


class EngineMemory(Protocol):
    """The memory of engines as the scheduler sees it: of this machine, or of several."""

    def needs(self, alias: str) -> Mapping[str, int]: ...

    def mapped(self, alias: str) -> int: ...

    def budgets(self) -> dict[str, int]: ...

    def figures(self, alias: str) -> dict[str, Any]: ...

    def expected(self, alias: str) -> Mapping[str, int]: ...

    def measured(self, alias: str) -> Mapping[str, int]: ...

    def warnings(self) -> list[str]: ...

    def renewed(self) -> set[str]: ...


class MemoryBook:
    """Needs and budgets by place in memory. Looks block, so they run in threads; all else reads the last look."""

    def __init__(
        self,
        setting: Literal["auto"] | Mapping[str, int],
        margin: float,
        see: Callable[[], SeenMemory] = lambda: SeenMemory(None, 0),
        up: Callable[[], Iterable[str]] = tuple,
        on_known: Callable[[], None] = lambda: None,
        truth: MemoryTruth | None = None,
        machine: MachineMemory | None = None,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        """`see` looks at the machine and may block. `up` names the engines that hold memory now.

        `on_known` is called when the memory becomes known or unknown. Without `truth`, estimates are used. `machine`
        replaces both: a node. `forget` makes the next look a new one.
        """
        self._setting = setting
        self._margin = margin
        self._machine = machine or ThisMachineMemory(see, truth)
        self._up = up
        self._on_known = on_known
        self._forget = forget
        # Running engines, their sizes right after the load, and the shortages of starts that have failed since
        self._running: dict[str, RunningPlan] = {}
        self._expected: dict[str, Mapping[str, int]] = {}
        self._at_load: dict[str, tuple[Mapping[str, int], int]] = {}
        self._starved: dict[str, dict[str, tuple[int, int]]] = {}
        self._needs: dict[str, Mapping[str, int]] = {}
        self._mapped: dict[str, int] = {}
        self._renewed: set[str] = set()
        self._places: dict[str, MemoryPlace] = {}
        # As they are now, and as they would be without any engine of ours
        self._devices: tuple[Device, ...] = ()
        self._emptied: tuple[Device, ...] = ()
        self._looking = asyncio.Lock()
        self._measured_at = -math.inf
        # Whether the last look found the machine's memory; None before the first
        self.known: bool | None = None

    def needs(self, alias: str) -> Mapping[str, int]:
        """Place -> bytes; empty if unknown."""
        return self._needs.get(alias, {})

    def expected(self, alias: str) -> Mapping[str, int]:
        """Place -> bytes that the last start of `alias` was planned with; empty if unknown."""
        return self._expected.get(alias) or self.needs(alias)

    def measured(self, alias: str) -> Mapping[str, int]:
        """Place -> bytes of a running engine; empty before its measurement."""
        return self.needs(alias) if alias in self._running else {}

    def mapped(self, alias: str) -> int:
        """Bytes of the host's part that are mapped files. They may exceed the host's free memory."""
        return self._mapped.get(alias, 0)

    def budgets(self) -> dict[str, int]:
        """Place -> bytes for all engines of the gateway; empty if memory is unknown."""
        return {name: budget(place, self._setting, self._margin) for name, place in self._places.items()}

    def warnings(self) -> list[str]:
        """What the setting says in vain, once the memory is known."""
        return unknown_places(self._setting, self._places) if self._places else []

    def figures(self, alias: str) -> dict[str, Any]:
        """The fields of a refusal: the needs of `alias`, and the budgets; sizes in bytes."""
        return {"footprint": dict(self.needs(alias)), "budgets": self.budgets()}

    def holds(self, aliases: Iterable[str]) -> bool:
        """Whether these engines fit beside each other. A single engine may exceed the budget with mapped files."""
        names = list(aliases)
        sizes: Counter[str] = Counter()
        for alias in names:
            sizes.update(self.needs(alias))
        return len(names) == 1 or not shortages(sizes, self.budgets())

    async def look(self) -> None:
        """Looks at the machine again."""
        async with self._looking:
            before = self.known
            self._seen(await self._machine.see())
            await self._look_at_engines()
            if self.known is not before:
                self._on_known()

    def _seen(self, seen: SeenMemory) -> None:
        if seen.devices is None:
            if self.known is not False:
                log.warning("memory is unknown: llama-server lists no devices; set max_loaded to load more than one")
            self.known, self._places = False, {}
            return
        self.known, self._devices = True, seen.devices
        held: Counter[str] = Counter()
        for alias in self._up():
            held.update(self.needs(alias))
        self._emptied, self._places = seen.devices_without(held), seen.places(held)

    async def planned(
        self,
        alias: str,
        plan: LaunchPlan,
        without_draft: Callable[[str], Awaitable[LaunchPlan]] | None = None,
    ) -> LaunchPlan:
        """Records the needs of `plan` and returns it; raises InsufficientMemoryError if it does not fit alone.

        `without_draft` makes the plan without the draft, for a reason. That plan is returned if the draft is optional
        and only the smaller plan fits.
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
                    log.warning("loading without the draft", alias=alias, reason=why)
        except GgufError as error:
            # The engine itself reports a damaged header better
            log.warning("footprint unknown", alias=alias, error=str(error))
            return plan
        footprint, budgets = verdict.footprint, verdict.budgets
        needs, starved = footprint.by_device(), self._starved.get(alias, {})
        for name, (learned, _) in starved.items():
            if learned <= budgets.get(name, 0):
                needs[name] = max(learned, needs.get(name, 0))
        self._note(alias, needs, footprint.mapped if may_page(self._setting) else 0)
        if verdict.paged:
            log.warning(f"memory: {verdict.paged}; it is slow, since its files are read repeatedly", alias=alias)
        if not verdict.fits:
            raise InsufficientMemoryError(alias, verdict.words(), verdict.figures())
        return plan

    async def _judged(self, plan: LaunchPlan) -> MemoryVerdict:
        """Raises GgufError."""
        host, pages = self._places[HOST].total, may_page(self._setting)
        bounds = MemoryBounds(self._devices, self._emptied, host, self.budgets(), pages)
        return await self._machine.judge(plan, bounds)

    def _note(self, alias: str, needs: Mapping[str, int], mapped: int) -> None:
        if (self._needs.get(alias), self.mapped(alias)) != (needs, mapped):
            self._needs[alias], self._mapped[alias] = needs, mapped
            self._renewed.add(alias)

    # -- measured sizes ------------------------------------------------------------------------------------------

    async def came_up(self, alias: str, engine: RunningPlan) -> None:
        """Measures a READY engine, uses the sizes from now on, and stores them for its next start."""
        self._forget()
        if not self.known:
            return
        async with self._looking:
            held = dict(await self._machine.measure(engine, self._devices))
        if not held:
            return
        self._running[alias] = engine
        starved = self._take_shortages(alias)
        # A place that cannot be measured still needs more than its failed start had
        held = {name: HeldMemory(size, source=OUT_OF_MEMORY) for name, size in starved.items()} | held
        estimated, before = dict(self.needs(alias)), self.mapped(alias)
        self._expected[alias] = estimated
        self._use_measured(alias, held)
        self._at_load[alias] = self._needs[alias], self.mapped(alias)
        if short := shortage_in_words(self.needs(alias), self._enough_for(alias)):
            log.warning(f"memory: {short}; the next start is refused unless more is free", alias=alias)
        log.debug("memory measured", alias=alias, estimated=estimated, mapped=before, measured=self._needs[alias])
        await self._machine.keep(engine.plan, held)

    def _take_shortages(self, alias: str) -> dict[str, int]:
        """The needs that failed starts showed; empty if it now fits beside the same engines."""
        starved = self._starved.pop(alias, {})
        up = set(self._up()) | {alias}
        if starved and not self.holds(up):
            # Another program had the memory, and has given it back
            needs = {name: before for name, (_, before) in starved.items()}
            self._note(alias, {**self.needs(alias), **needs}, self.mapped(alias))
            return {}
        return {name: learned for name, (learned, _) in starved.items()}

    def _enough_for(self, alias: str) -> dict[str, int]:
        """The budgets, plus the files that may be paged."""
        budgets = self.budgets()
        return budgets | ({HOST: budgets[HOST] + self.mapped(alias)} if HOST in budgets else {})

    def left(self, alias: str) -> None:
        """Records that the process is gone: the next start needs the size after a load, without the growth."""
        self._expected.pop(alias, None)
        if self._running.pop(alias, None) is not None:
            self._note(alias, *self._at_load.pop(alias))

    def starved(self, alias: str, diagnosis: Diagnosis, beside: Iterable[str]) -> None:
        """Raises the needs of `alias` after a start that ran out of memory `beside` other engines."""
        self._forget()
        held: Counter[str] = Counter()
        for other in beside:
            held.update(self.needs(other))
        for name in ran_out_of(diagnosis, [name for name, size in self.needs(alias).items() if size and name != HOST]):
            before = self.needs(alias).get(name, 0)
            if learned := learned_size(self.budgets().get(name, 0), held[name], before, allocated(diagnosis)):
                sizes = self._starved.setdefault(alias, {})
                sizes[name] = learned, sizes[name][1] if name in sizes else before
                self._note(alias, {**self.needs(alias), name: learned}, self.mapped(alias))
                log.warning("out of memory: the engine needs more than estimated", alias=alias, **{name: learned})

    async def _look_at_engines(self) -> None:
        """Measures running engines again, since cached prompts make them grow."""
        now = asyncio.get_running_loop().time()
        if now < self._measured_at + AGAIN_S:
            return
        self._measured_at = now
        for alias, engine in list(self._running.items()):
            if held := await self._machine.measure(engine, self._devices):
                grown = {name: one for name, one in held.items() if one.size > self.needs(alias).get(name, 0)}
                if alias in self._running:
                    self._use_measured(alias, grown)

    def _use_measured(self, alias: str, held: Mapping[str, HeldMemory]) -> None:
        needs = {**self.needs(alias), **{name: one.size for name, one in held.items()}}
        mapped = held[HOST].mapped if HOST in held and may_page(self._setting) else self.mapped(alias)
        self._note(alias, needs, mapped)

    def renewed(self) -> set[str]:
        """The aliases whose needs have changed since the last call."""
        renewed, self._renewed = self._renewed, set()
        return renewed

    def configure(self, setting: Literal["auto"] | Mapping[str, int], margin: float) -> None:
        """Replaces the settings."""
        self._setting, self._margin = setting, margin

    def fields(self, up: Iterable[str]) -> list[dict[str, Any]]:
        """The rows of `/admin/memory`: each place, its budget, and each engine's share; sizes in bytes."""
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
