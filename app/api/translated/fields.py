"""Reads a request's JSON field by field. Errors have a place: `input[2].content[0].type`. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from app.errors import InvalidBodyError


class Fields:
    """A JSON object and its place in the request. A null field counts as missing."""

    __slots__ = ("place", "values")

    def __init__(self, value: Any, place: str = "") -> None:
        """Raises InvalidBodyError if `value` is not an object."""
        if not isinstance(value, dict):
            raise wrong(place, "must be an object") if place else InvalidBodyError("The body must be a JSON object.")
        self.values = value
        self.place = place

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def where(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def wrong(self, name: str, words: str) -> InvalidBodyError:
        """Returns an error to raise. `words` follow the field's name."""
        return wrong(self.where(name), words)

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "must be a string")
        return value

    def needed_text(self, name: str) -> str:
        """Returns a required, non-empty string."""
        if not (value := self.text(name)):
            raise self.wrong(name, "is missing; it must be a non-empty string")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "must be true or false")
        return value

    def integer(self, name: str, least: int, most: int | None = None) -> int | None:
        value = self.values.get(name)
        if value is None:
            return None
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or value < least
            or (most is not None and value > most)
        ):
            limits = f"a whole number of {least} or more" if most is None else f"a whole number from {least} to {most}"
            raise self.wrong(name, f"must be {least if least == most else limits}")
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(name, f"must be a number from {least:g} to {most:g}")
        return value

    def one_of(self, name: str, words: Iterable[str]) -> str | None:
        value = self.values.get(name)
        if value is not None and (not isinstance(value, str) or value not in words):
            raise self.wrong(name, f"must be {listed(words)}")
        return value

    def needed_one_of(self, name: str, words: Iterable[str]) -> str:
        if (value := self.one_of(name, words)) is None:
            raise self.wrong(name, f"is missing; it must be {listed(words)}")
        return value

    def object(self, name: str) -> Fields | None:
        value = self.values.get(name)
        return None if value is None else Fields(value, self.where(name))

    def needed_object(self, name: str, what: str = "an object") -> Fields:
        """Returns a required object. `what` names its kind in an error."""
        if (value := self.object(name)) is None:
            raise self.wrong(name, f"is missing; it must be {what}")
        return value

    def items(self, name: str) -> list[Any]:
        """Returns a list, empty if missing."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, list):
            raise self.wrong(name, "must be a list")
        return value or []

    def objects(self, name: str) -> list[Fields]:
        """Returns a list of objects, empty if missing."""
        return [Fields(value, f"{self.where(name)}[{i}]") for i, value in enumerate(self.items(name))]

    def texts(self, name: str) -> list[str]:
        """Returns a list of non-empty strings."""
        values = self.items(name)
        for i, value in enumerate(values):
            if not isinstance(value, str) or not value:
                raise wrong(f"{self.where(name)}[{i}]", "must be a non-empty string")
        return values

    def refuse(self, reasons: dict[str, str]) -> None:
        """Raises InvalidBodyError for a field that is set and not supported."""
        for name, reason in reasons.items():
            if self.values.get(name) not in (None, False, [], {}):
                raise self.wrong(name, f"is not supported: {reason}")

    def others(self, known: Container[str]) -> dict[str, Any]:
        """Returns the fields that are not read here, such as the engine's own sampling."""
        return {name: value for name, value in self.values.items() if value is not None and name not in known}


def wrong(place: str, words: str) -> InvalidBodyError:
    return InvalidBodyError(f"'{place}' {words}.", param=place)


def said(kind: object) -> str:
    """Returns the words for an unknown type, which may be missing."""
    return "is missing" if kind is None else f"is {kind!r}" if isinstance(kind, str) else "must be a string"


def listed(words: Iterable[str]) -> str:
    """Joins names: `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
