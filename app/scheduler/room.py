"""The engines that are up, and what fits beside them: by places, by memory, and by known misfits. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from app.scheduler.node_places import is_host_memory, is_node_place
from app.scheduler.snapshot import EngineTable, EngineView, SchedulerSnapshot

# The value of `max_loaded` if memory alone decides
UNCAPPED = 1 << 30
_NONE: Set[str] = frozenset()


class StartAt(NamedTuple):
    """A start on one machine that is only considered. It has the fields of an EngineView that room is counted by."""

    alias: str
    node: str
    needs: Mapping[str, int]
    mapped: int
    exclusive: bool


class Room:
    """Places and memory during one pass over the waits. Each decision counts for the following ones."""

    def __init__(self, snapshot: SchedulerSnapshot) -> None:
        table = EngineTable.of(snapshot.engines)
        self.up = dict(table.up)
        # Engines that are leaving already
        self.leaving = set(table.leaving)
        self.places = snapshot.max_loaded
        self._misfits = snapshot.misfits
        # The engines of each node, by its name, and those that this pass starts
        self._by_node: Mapping[str, Set[str]] = table.by_node
        self._taken: dict[str, set[str]] = {}
        self._budgets = snapshot.budgets
        self._loading = set(table.loading)
        # Bytes by place in memory: held by running engines, and reserved for engines with waiting requests
        self._held = dict(table.held)
        self._promised: Counter[str] = Counter()
        # Places in memory that a request waits for: later requests may not take them
        self.contended: set[str] = set()
        # Devices that an engine is loaded onto, or that are being cleared: the next load onto them comes later
        self.awaited = {name for alias in self._loading for name in self.devices_of(self.up[alias])}

    @property
    def free(self) -> int:
        """Places of this machine. Those of a node are its place in memory."""
        return self.places - len(self.on(""))

    def take(self, engine: EngineView, *, loads: bool = True) -> None:
        """Counts an engine as up. While it `loads`, later loads onto its devices wait."""
        self.up[engine.alias] = engine
        self._taken.setdefault(engine.node, set()).add(engine.alias)
        for name, size in engine.needs.items():
            self._held[name] = self._held.get(name, 0) + size
        if loads:
            self._loading.add(engine.alias)

    def on(self, node: str) -> Set[str]:
        """The running engines of a machine."""
        there = self._by_node.get(node, _NONE)
        return there | self._taken[node] if node in self._taken else there

    def promise(self, engine: EngineView) -> None:
        """Reserves the memory that `engine` waits for. A device that is full then has nothing for later requests."""
        self._promised.update(engine.needs)
        for name, size in engine.needs.items():
            if not size or is_host_memory(name):
                continue
            if self._held.get(name, 0) + self._promised[name] >= self._budgets.get(name, math.inf):
                self.contended.add(name)

    def is_contended(self, engine: EngineView | StartAt) -> bool:
        """Whether an earlier request waits for a place in memory that `engine` needs."""
        return not self.contended.isdisjoint(engine.needs)

    def in_the_way(self, engine: EngineView | StartAt) -> tuple[set[str], bool]:
        """Returns the running engines that exclude `engine`, and whether all of them have to leave, not just one."""
        beside = self.on(engine.node)
        if engine.exclusive and beside:
            return set(beside), True
        if exclusive := {alias for alias in beside if self.up[alias].exclusive}:
            return exclusive, True
        if unfit := self._unfit(engine.alias, beside):
            return unfit, False
        return (set(beside), False) if not engine.node and self.free <= 0 else (set(), False)

    def left(self, engine: EngineView) -> dict[str, int]:
        """Place in memory -> free bytes, for each place that it needs and that has a budget."""
        places = (name for name, size in engine.needs.items() if size and name in self._budgets)
        return {name: max(self._budgets[name] - self._held.get(name, 0), 0) for name in places}

    def fits(self, needs: Mapping[str, int], mapped: int) -> bool:
        """Whether all of it is free, beside all running engines and reservations."""
        budgets, held, promised = self._budgets, self._held, self._promised
        for name, size in needs.items():
            if name not in budgets or not size:
                continue
            used = held.get(name, 0) + promised.get(name, 0)
            may_page = mapped if not used and is_host_memory(name) else 0
            if used + size - may_page > budgets[name]:
                return False
        return True

    def free_of(self, name: str) -> int:
        """Units of a place in memory that are neither held nor reserved; none are known without a budget."""
        if (budget := self._budgets.get(name)) is None:
            return 0
        return budget - self._held.get(name, 0) - self._promised.get(name, 0)

    def short_alone(self, engine: EngineView | StartAt) -> dict[str, int]:
        """Place in memory -> bytes that would be missing for it if it were alone."""
        return self._missing(engine, {})

    def short(
        self, engine: EngineView | StartAt, without: Set[str] = frozenset(), *, promises: bool = True
    ) -> dict[str, int]:
        """Place in memory -> bytes missing for it beside all running engines but `without`, and reservations."""
        used = {name: self._held.get(name, 0) for name in engine.needs if name in self._budgets}
        for name in used:
            used[name] += self._promised.get(name, 0) if promises else 0
            used[name] -= sum(self.up[alias].needs.get(name, 0) for alias in without)
        return self._missing(engine, used)

    def _missing(self, engine: EngineView | StartAt, used: Mapping[str, int]) -> dict[str, int]:
        missing = {}
        for name, size in engine.needs.items():
            if name not in self._budgets or not size:
                continue
            missing[name] = used.get(name, 0) + size - self._budgets[name]
            if engine.mapped and is_host_memory(name) and not used.get(name, 0):
                missing[name] -= engine.mapped
        return {name: size for name, size in missing.items() if size > 0}

    def holders(self, names: Iterable[str]) -> set[str]:
        """The running engines that have memory of these places."""
        return {alias for alias, engine in self.up.items() if any(engine.needs.get(name) for name in names)}

    def loading_beside(self, engine: EngineView | StartAt) -> set[str]:
        """Its devices that another engine loads onto. A build measures free memory there, so loads take turns."""
        devices = self.devices_of(engine)
        return {name for alias in self._loading for name in devices if self.up[alias].needs.get(name)}

    @staticmethod
    def devices_of(engine: EngineView | StartAt) -> set[str]:
        """The devices on which loads take turns."""
        names = (name for name, size in engine.needs.items() if size)
        return {name for name in names if not is_host_memory(name) and not is_node_place(name)}

    def _unfit(self, alias: str, beside: Set[str]) -> set[str]:
        aliases: set[str] = set()
        for misfit in self._misfits:
            others = misfit - {alias}
            if alias in misfit and others <= beside:
                aliases |= others
        return aliases
