"""Decides how long an engine stays: by its entry, then by admin verbs and requests. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.config.model_entry import AttachedEntry, LocalEntry

# Seconds since its last use by one client in which another client cannot unload an engine
RECENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Residency:
    """The residency of an entry. `ttl` is in seconds, 0 for never; `slots` is None if the number is unknown."""

    ttl: float = 0.0
    pin: bool = False
    preload: bool = False
    exclusive: bool = False
    priority: int = 0
    slots: int | None = None


def residency_of(entry: LocalEntry | AttachedEntry, ttl: float) -> Residency:
    """The residency of `entry`; `ttl` is the default of entries without one."""
    if isinstance(entry, AttachedEntry):
        return Residency()
    own = ttl if entry.ttl is None else entry.ttl
    return Residency(own, entry.pin, entry.preload, entry.exclusive, entry.priority, entry.parallel)


@dataclass(slots=True)
class ResidencyState:
    """One engine's stay. Moments are on the caller's clock."""

    # Set by a verb; overrides the entry
    pin: bool | None = None
    # Set by the last request, in seconds; combined with the entry's ttl
    keep_alive: float | None = None
    # Each client's last use, within the last `RECENT_S` seconds
    _used_by: dict[str, float] = field(default_factory=dict)
    _last_client: str = ""

    def used(self, client: str, keep_alive: float | None, now: float) -> None:
        """Records that a request of `client` has ended."""
        self._used_by = {name: at for name, at in self._used_by.items() if now - at < RECENT_S}
        self._used_by[client] = now
        self._last_client = client
        self.keep_alive = keep_alive

    def left(self) -> None:
        """Forgets what requests have set, since the engine is gone."""
        self.keep_alive = None
        self._used_by.clear()

    def used_by_others(self, client: str) -> float:
        """The moment of the last use by another client; minus infinity without any."""
        return max((at for name, at in self._used_by.items() if name != client), default=-math.inf)

    def pinned(self, entry: Residency) -> bool:
        return entry.pin if self.pin is None else self.pin

    def unload_at(self, entry: Residency, idle_since: float) -> float:
        """The moment when an engine that is idle since `idle_since` is unloaded, if it stays idle."""
        if self.pinned(entry):
            return math.inf
        by_entry = idle_since + entry.ttl if entry.ttl else math.inf
        if self.keep_alive is None:
            return by_entry
        # A request may shorten the stay, but not while other clients use the engine
        wished = max(idle_since + self.keep_alive, self.used_by_others(self._last_client) + RECENT_S)
        return min(by_entry, wished)


def preloads(models: Iterable[tuple[str, Residency]], places: int) -> tuple[list[str], dict[str, str]]:
    """Returns the aliases to load at the start, the most important first, and the refused ones with their reasons."""
    chosen: list[str] = []
    refused: dict[str, str] = {}
    exclusive = ""
    for alias, residency in sorted((m for m in models if m[1].preload), key=lambda model: -model[1].priority):
        if exclusive:
            refused[alias] = f"'{exclusive}' is exclusive"
        elif residency.exclusive and chosen:
            refused[alias] = f"it is exclusive, and '{chosen[0]}' is loaded"
        elif len(chosen) >= places:
            refused[alias] = f"max_loaded is {places}"
        else:
            chosen.append(alias)
            exclusive = alias if residency.exclusive else ""
    return chosen, refused
