"""What is up, and what still fits beside it: by places, by memory, and by what is known not to go together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set

from app.engine.footprint.footprint import HOST
from app.scheduler.snapshot import EngineTable, EngineView, SchedulerSnapshot
from app.supervisor.states import OCCUPYING, EngineState

LEAVING = frozenset((EngineState.DRAINING, EngineState.STOPPING))
# `max_loaded` where memory alone decides
UNCAPPED = 1 << 30


class Room:
    """For one pass over the waits; what was decided for one counts for the next."""

    def __init__(self, snapshot: SchedulerSnapshot) -> None:
        running = EngineTable.of(snapshot.engines).running
        self.up = {alias: engine for alias, engine in running.items() if engine.state in OCCUPYING}
        # Places that will be free without our doing
        self.leaving = {alias for alias, engine in self.up.items() if engine.state in LEAVING}
        self.places = snapshot.max_loaded
        self._misfits = snapshot.misfits
        self._budgets = snapshot.budgets
        self._loading = {alias for alias, engine in self.up.items() if engine.state is EngineState.STARTING}
        # By place in memory: what engines have that are up, and what is kept for those that wait for it
        self._held: Counter[str] = Counter()
        self._promised: Counter[str] = Counter()
        for engine in self.up.values():
            self._held.update(engine.needs)
        # Places in memory that somebody waits for, and that nobody behind him may take
        self.contended: set[str] = set()
        # Devices that an engine is loaded onto, or that somebody has room made on: the next load is after that
        self.awaited = {name for alias in self._loading for name in self.devices_of(self.up[alias])}

    @property
    def free(self) -> int:
        return self.places - len(self.up)

    def take(self, engine: EngineView) -> None:
        self.up[engine.alias] = engine
        self._held.update(engine.needs)
        self._loading.add(engine.alias)

    def promise(self, engine: EngineView) -> None:
        """Keeps the memory that `engine` waits for from those behind it."""
        self._promised.update(engine.needs)

    def is_contended(self, engine: EngineView) -> bool:
        """Whether somebody before it waits for a place in memory that it needs."""
        return not self.contended.isdisjoint(engine.needs)

    def in_the_way(self, engine: EngineView) -> tuple[set[str], bool]:
        """What is up of those that `engine` cannot be up beside, and whether all of them have to go, not just one."""
        if engine.exclusive and self.up:
            return set(self.up), True
        if exclusive := {alias for alias, other in self.up.items() if other.exclusive}:
            return exclusive, True
        if unfit := self._unfit(engine.alias):
            return unfit, False
        return (set(self.up), False) if self.free <= 0 else (set(), False)

    def left(self, engine: EngineView) -> dict[str, int]:
        """Place in memory that it needs and that has a budget -> bytes of it that nothing that is up has."""
        places = (name for name, size in engine.needs.items() if size and name in self._budgets)
        return {name: max(self._budgets[name] - self._held[name], 0) for name in places}

    def short_alone(self, engine: EngineView) -> dict[str, int]:
        """Place in memory -> bytes that would be missing for it with nothing beside it."""
        return self._missing(engine, Counter())

    def short(self, engine: EngineView, without: Set[str] = frozenset(), *, promises: bool = True) -> dict[str, int]:
        """Place in memory -> bytes that are missing for it beside what is up, but for `without`, and promised."""
        if not self._budgets:
            return {}
        used = self._held + self._promised if promises else Counter(self._held)
        for alias in without:
            used.subtract(self.up[alias].needs)
        return self._missing(engine, used)

    def _missing(self, engine: EngineView, used: Counter[str]) -> dict[str, int]:
        missing = {
            name: used[name] + size - self._budgets[name]
            for name, size in engine.needs.items()
            if name in self._budgets and size
        }
        if engine.mapped and HOST in missing and not used[HOST]:
            missing[HOST] -= engine.mapped
        return {name: size for name, size in missing.items() if size > 0}

    def holders(self, names: Iterable[str]) -> set[str]:
        """What is up and has memory of these places."""
        return {alias for alias, engine in self.up.items() if any(engine.needs.get(name) for name in names)}

    def loading_beside(self, engine: EngineView) -> set[str]:
        """Devices of its that another engine loads onto: a build measures what is free there, so one ends first."""
        devices = self.devices_of(engine)
        return {name for alias in self._loading for name in devices if self.up[alias].needs.get(name)}

    @staticmethod
    def devices_of(engine: EngineView) -> set[str]:
        """Where loads come one after another."""
        return {name for name, size in engine.needs.items() if size and name != HOST}

    def _unfit(self, alias: str) -> set[str]:
        aliases: set[str] = set()
        for misfit in self._misfits:
            others = misfit - {alias}
            if alias in misfit and others <= self.up.keys():
                aliases |= others
        return aliases
