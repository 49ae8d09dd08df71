"""An error that holds several mistakes within one value, each with its place."""

from __future__ import annotations

from collections.abc import Sequence

Keys = tuple[int | str, ...]
# pydantic's marker at the end of a place: the key is wrong, not its value
THE_KEY = "[key]"


class PlacedError(ValueError):
    """Mistakes within a value. `problems` are pairs of keys below the value and a message."""

    def __init__(self, problems: Sequence[tuple[Keys, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(text for _, text in problems))

    def below(self, *keys: int | str) -> PlacedError:
        """Returns the same error, with places within a larger value."""
        return PlacedError([((*keys, *place), text) for place, text in self.problems])
