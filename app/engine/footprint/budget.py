"""Computes the budget of all engines on each device and on the host, and checks footprints against it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from app.engine.footprint.footprint import HOST
from app.terminal import memory_in_words


@dataclass(frozen=True, slots=True)
class MemoryPlace:
    """The host, or one device: its memory, and the use by other programs, in bytes."""

    name: str
    total: int
    others: int = 0


def budget(place: MemoryPlace, setting: Literal["auto"] | Mapping[str, int], margin: float) -> int:
    """Bytes for all engines of the gateway.

    `auto` is the total minus the margin and the use by other programs. A figure of the settings counts as it is, even
    above the place's memory. Other programs' use is subtracted only as far as it exceeds what the figure leaves free.
    """
    figure = None if isinstance(setting, str) else _figure(setting, place.name)
    if figure is None:
        return max(place.total - place.others - int(margin), 0)
    return max(min(figure, max(place.total, figure) - place.others), 0)


def _figure(setting: Mapping[str, int], name: str) -> int | None:
    """The setting of a place; llama.cpp ignores the case of device names."""
    return next((size for key, size in setting.items() if key.lower() == name.lower()), None)


def unknown_places(setting: Literal["auto"] | Mapping[str, int], known: Iterable[str]) -> list[str]:
    """Warnings about names in the setting that are no place of this machine."""
    places = list(known)
    there = {name.lower() for name in places}
    strange = [] if isinstance(setting, str) else [name for name in setting if name.lower() not in there]
    return [f"memory: there is no {name} here, so it limits nothing; use {', '.join(places)}" for name in strange]


def may_page(setting: Literal["auto"] | Mapping[str, int]) -> bool:
    """Whether an engine may map more of its files than the host has room for: only without a figure for the host."""
    return isinstance(setting, str) or _figure(setting, HOST) is None


def shortages(needs: Mapping[str, int], budgets: Mapping[str, int]) -> dict[str, int]:
    """Device -> missing bytes; a device without a budget has no limit."""
    return {name: size - budgets[name] for name, size in needs.items() if name in budgets and size > budgets[name]}


def shortage_in_words(needs: Mapping[str, int], budgets: Mapping[str, int]) -> str:
    """`CUDA0 needs 30.00 GiB of 24.00 GiB`; empty if all fits."""
    short = shortages(needs, budgets)
    return ", ".join(
        f"{name} needs {memory_in_words(needs[name])} of {memory_in_words(max(budgets[name], 0))}" for name in short
    )
