"""What the gateway's engines may take together of each device and of the host, and whether a footprint fits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.engine.footprint.footprint import HOST
from app.terminal import memory_in_words


@dataclass(frozen=True, slots=True)
class MemoryPlace:
    """The host, or one device: its memory, and what processes that are none of ours use of it, in bytes."""

    name: str
    total: int
    others: int = 0


def budget(place: MemoryPlace, setting: Literal["auto"] | Mapping[str, int], margin: float) -> int:
    """Bytes for engines of ours.

    `auto` is all but the margin and what others use. A figure holds as it is, also one above the place's memory, less
    what others use of what it leaves free.
    """
    figure = None if isinstance(setting, str) else _figure(setting, place.name)
    if figure is None:
        return max(place.total - place.others - int(margin), 0)
    return max(min(figure, max(place.total, figure) - place.others), 0)


def _figure(setting: Mapping[str, int], name: str) -> int | None:
    """llama.cpp compares names of devices without case."""
    return next((size for key, size in setting.items() if key.lower() == name.lower()), None)


def may_page(setting: Literal["auto"] | Mapping[str, int]) -> bool:
    """Whether an engine may map more of its files than the host has room for: not where a figure says how much."""
    return isinstance(setting, str) or _figure(setting, HOST) is None


def shortages(needs: Mapping[str, int], budgets: Mapping[str, int]) -> dict[str, int]:
    """Device -> bytes that are missing; a device without a budget has room for all."""
    return {name: size - budgets[name] for name, size in needs.items() if name in budgets and size > budgets[name]}


def shortage_in_words(needs: Mapping[str, int], budgets: Mapping[str, int]) -> str:
    """`CUDA0 needs 30.00 GiB of 24.00 GiB`; empty where all fits."""
    short = shortages(needs, budgets)
    return ", ".join(
        f"{name} needs {memory_in_words(needs[name])} of {memory_in_words(max(budgets[name], 0))}" for name in short
    )
