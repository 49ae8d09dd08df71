"""Flags without a key of their own, for `args`."""

from __future__ import annotations

from app.cli.importer.flags import LOADING, OPTIONAL, REPEATABLE, SCALED, TRUE
from app.cli.importer.parse import Given
from app.engine.dialect import Dialect
from app.engine.translate import Note


def arguments(given: list[Given], dialect: Dialect | None, notes: list[Note]) -> list[str]:
    """As they are, but for what llama.cpp would overwrite itself and for flags that now want a value."""
    kept: dict[int, Given] = {}
    for at, one in enumerate(given):
        again = [i for i, other in kept.items() if other.flag == one.flag]
        if again and one.flag not in REPEATABLE:
            before = kept.pop(again[0])
            if before.values != one.values:
                notes.append(Note(one.shown, f"wins over {before.shown} before it"))
        kept[at] = one
    words: list[str] = []
    for one in kept.values():
        said = (one.flag, *one.values)
        if one.flag in OPTIONAL:
            said = _optional(one, dialect, notes)
        elif one.flag in SCALED and len(one.values) == 2 and not (dialect and one.flag in dialect.pairs):
            said = (one.flag, ":".join(one.values))
            notes.append(Note(one.shown, f"{' '.join(said)}: one word since 2026"))
        elif one.flag in LOADING:
            notes.append(Note(one.shown, "kept in args: where a build has --load-mode instead, that is written"))
        elif dialect is not None and one.flag not in dialect.flags:
            notes.append(Note(one.shown, "kept in args, but unknown to the llama-server here: see `llama-tandem plan`"))
        words += said
    return words


def _optional(one: Given, dialect: Dialect | None, notes: list[Note]) -> tuple[str, ...]:
    """A switch of 2025 that takes on, off or auto since: as the build at hand wants it."""
    said = (one.flag, *one.values)
    if dialect is None:
        if not one.values:
            notes.append(Note(one.shown, f"kept in args: builds since late 2025 want {one.flag} on"))
        return said
    if one.flag not in dialect.flags:
        return said
    if one.flag in dialect.takes_value:
        if not one.values:
            notes.append(Note(one.shown, f"{one.flag} on: the llama-server here wants a value"))
        return (one.flag, *(one.values or ("on",)))
    if not one.values:
        return said
    on = one.value in TRUE
    what = one.flag if on else "left out"
    notes.append(Note(one.shown, f"{what}: the llama-server here has it as a switch{'' if on else ', off by default'}"))
    return (one.flag,) if on else ()
