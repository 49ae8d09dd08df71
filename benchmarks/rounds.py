"""Figures of several rounds: the median, and how far the rounds lie apart."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import Any


class Rounds:
    """By name of a figure, its value in each round. A figure that a round lacks is left out of it."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, figures: Mapping[str, float | None]) -> None:
        for name, value in figures.items():
            if value is not None:
                self._values[name].append(value)

    def median(self, name: str) -> float | None:
        values = self._values.get(name)
        return statistics.median(values) if values else None

    def spread(self, name: str) -> float | None:
        """Half of the distance from the lowest round to the highest, as a share of the median."""
        values, median = self._values.get(name), self.median(name)
        return (max(values) - min(values)) / 2 / abs(median) if values and median else None

    def fields(self) -> dict[str, Any]:
        """As JSON: the median, the spread and each round."""
        return {
            name: {"median": self.median(name), "spread": self.spread(name), "rounds": values}
            for name, values in self._values.items()
        }
