"""Converts flags without a key of their own to `args`."""

from __future__ import annotations

from app.cli.importer.flags import OPTIONAL, SCALED, TRUE, known
from app.cli.importer.parse import Argument
from app.config.path_flags import PATH_FLAGS
from app.engine.dialect import Dialect
from app.engine.translate import Note


def arguments(passed: list[Argument], dialect: Dialect | None, notes: list[Note]) -> list[str]:
    """Returns the flags, without overwritten ones, and with values that today's builds require."""
    last: list[Argument] = []
    for argument in passed:
        before = next((other for other in last if other.flag == argument.flag), None)
        if before is not None and not known(argument.flag).joins_values:
            last.remove(before)
            if before.values != argument.values:
                notes.append(Note(argument.shown, f"overrides the earlier {before.shown}"))
        last.append(argument)
    words: list[str] = []
    for argument in last:
        said, flag = (argument.flag, *argument.values), known(argument.flag)
        if flag.values == OPTIONAL:
            said = _optional(argument, dialect, notes)
        elif flag.values == SCALED and len(argument.values) == 2 and not (dialect and argument.flag in dialect.pairs):
            said = (argument.flag, ":".join(argument.values))
            notes.append(Note(argument.shown, f"{' '.join(said)}: one word since 2026"))
        elif flag.note:
            notes.append(Note(argument.shown, flag.note))
        elif dialect is not None and argument.flag not in dialect.flags:
            notes.append(
                Note(argument.shown, "kept in args, but unknown to this llama-server: see `llama-tandem plan`")
            )
        if argument.flag in PATH_FLAGS and argument.values and not argument.value.startswith(("/", "~")):
            notes.append(Note(argument.shown, "kept in args; a relative path starts at the folder of tandem.yaml"))
        words += said
    return words


def _optional(argument: Argument, dialect: Dialect | None, notes: list[Note]) -> tuple[str, ...]:
    """Converts a switch of 2025 that now takes on, off or auto to the form of this build."""
    said = (argument.flag, *argument.values)
    if dialect is None:
        if not argument.values:
            notes.append(Note(argument.shown, f"kept in args: builds since late 2025 need {argument.flag} on"))
        return said
    if argument.flag not in dialect.flags:
        return said
    if argument.flag in dialect.takes_value:
        if not argument.values:
            notes.append(Note(argument.shown, f"{argument.flag} on: this llama-server needs a value"))
        return (argument.flag, *(argument.values or ("on",)))
    if not argument.values:
        return said
    on = argument.value in TRUE
    what = argument.flag if on else "left out"
    notes.append(
        Note(argument.shown, f"{what}: this llama-server has it as a switch{'' if on else ', off by default'}")
    )
    return (argument.flag,) if on else ()
