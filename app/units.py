"""Reads durations and sizes such as `90s`, `1h30m`, `8GiB`. A bare number is in its setting's unit. Pure."""

from __future__ import annotations

import re

DURATION_UNITS = "a number with ms, s, m, h or d, such as 90s, 5m, 1h30m"
DURATION_FORMS = f"seconds, or {DURATION_UNITS}"
SIZE_UNITS = "a number with KiB, MiB, GiB, TiB, or kB, MB, GB, TB, such as 8GiB"

_SECONDS: dict[str, float] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_LONGER_NAMES = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)
# Decimal units as for disks, and binary ones as for memory. llama.cpp's `MiB` is binary.
_BYTES: dict[str, float] = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.ASCII | re.IGNORECASE)


def _in_any_case(name: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" for letter in name)


def _duration_pattern() -> str:
    """Units from the longest to the shortest, each at most once."""
    parts = []
    for unit in sorted(_SECONDS, key=lambda unit: -_SECONDS[unit]):
        names = [*(longer for longer, short in _LONGER_NAMES.items() if short == unit), unit]
        spelt = "|".join(_in_any_case(name) for name in sorted(names, key=len, reverse=True))
        parts.append(rf"([0-9]+(\.[0-9]+)?\s*({spelt})\s*)?")
    return rf"^\s*([0-9]+(\.[0-9]+)?|(?=[0-9]){''.join(parts)})\s*$"


# What `seconds_of` and `bytes_of` read, for programs that take no code of ours; no flags, since JSON schemas have none
DURATION_PATTERN = _duration_pattern()
SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?(\s*([kKmMgGtT][iI]?)?[bB])?\s*$"


def seconds_of(text: str) -> float:
    """`90s`, `1h30m` or `500ms` in seconds, a bare number as it is; raises ValueError without words."""
    text = text.strip().lower()
    if (number := _bare(text)) is not None:
        return number
    total, end, below = 0.0, 0, float("inf")
    for part in _PART.finditer(text):
        unit = _SECONDS[_unit(part[2], _LONGER_NAMES, _SECONDS)]
        # `30m1h` and `1m1m` are slips of the pen, and no sum
        if part.start() != end or unit >= below:
            raise ValueError
        total, end, below = total + float(part[1]) * unit, part.end(), unit
    if not end or end != len(text):
        raise ValueError
    return total


def bytes_of(text: str, bare: int = 1) -> float:
    """`8GiB` or `500MB` in bytes, a bare number times `bare`; raises ValueError without words."""
    text = text.strip()
    if (number := _bare(text)) is not None:
        return number * bare
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError
    return float(match[1]) * _BYTES[_unit(match[2].lower(), {}, _BYTES)]


def _unit(name: str, longer: dict[str, str], known: dict[str, float]) -> str:
    name = longer.get(name, name)
    if name not in known:
        raise ValueError
    return name


def _bare(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
