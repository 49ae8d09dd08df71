"""Several things that are wrong within one value, each with its place."""

from __future__ import annotations

from collections.abc import Sequence

Keys = tuple[int | str, ...]
# As pydantic has it: the last of a place where the key itself is wrong, and not its value
THE_KEY = "[key]"


class PlacedError(ValueError):
    """`problems` are places below the value, and words."""

    def __init__(self, problems: Sequence[tuple[Keys, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(text for _, text in problems))

    def below(self, *keys: int | str) -> PlacedError:
        """The same within a larger value."""
        return PlacedError([((*keys, *place), text) for place, text in self.problems])
