"""Converts flags of speculative decoding, of any year, to the value of `speculation`."""

from __future__ import annotations

from typing import Any

from app.cli.importer.flags import DRAFT, NGRAM, known
from app.cli.importer.parse import Argument
from app.config.speculation import MODES, NONE, Option, parse_chain, unknown_mode, wants_draft_model
from app.engine.translate import Note
from app.errors import NotImportableError

# Names of modes before they were prefixed (first half of 2026).
_RENAMED = {name.removeprefix("draft-"): name for name in MODES if name.startswith("draft-")} | {
    "draft": "draft-simple"
}
# The modes of --spec-default (common/arg.cpp of b11434).
_DEFAULT_MODE, _DEFAULT_OPTIONS = "ngram-mod", {"n_match": 24, "n_min": 48, "n_max": 64}
Steps = dict[str, dict[str, Any]]


def speculation(
    arguments: list[Argument], *, draft: Argument | None, notes: list[Note]
) -> str | dict[str, Any] | list[Any] | None:
    """Returns the value of `speculation`, or None. Raises NotImportableError.

    `arguments` holds --spec-type, --spec-default and the options, each once. `draft` is the flag that names the draft
    model.
    """
    steps: Steps = {}
    named = _modes(arguments, steps, notes)
    origins = [argument.shown for argument in named]
    if not named and draft is not None:
        steps["draft-simple"] = {}
        origins.append(draft.shown)
        notes.append(Note(draft.shown, _IMPLIED))
        if not any(known(argument.flag).slot == f"{DRAFT}/n_max" for argument in arguments):
            notes.append(Note(draft.shown, "drafts had up to 16 tokens in 2025 and have up to 3 now: n_max sets it"))
    for argument in arguments:
        if argument not in named:
            _option(argument, steps, notes, origins)
    for mode in [mode for mode, options in steps.items() if options.get("n_max") == 0]:
        del steps[mode]
        notes.append(Note("speculation", f"{mode} with drafts of 0 tokens is no speculation: left out"))
        named = named or arguments
    if draft is not None and steps and not any(MODES[mode].family == "draft" for mode in steps):
        text = "kept, but unused, as on builds since June 2026: no mode of --spec-type uses a draft model"
        notes.append(Note(draft.shown, text))
    if not steps:
        return NONE if named else None
    written = [{"mode": mode, **options} if options else mode for mode, options in steps.items()]
    try:
        chain = parse_chain(written)
    except ValueError as error:
        raise NotImportableError(f"{', '.join(origins)}: {error}") from None
    if draft is None and wants_draft_model(chain):
        raise NotImportableError(f"{', '.join(origins)}: needs a draft model; --model-draft is missing")
    return written[0] if len(written) == 1 else written


# llama.cpp PR 23988
_IMPLIED = "draft, with speculation: draft-simple, which a draft model alone meant until June 2026"


def _modes(arguments: list[Argument], steps: Steps, notes: list[Note]) -> list[Argument]:
    """Fills `steps` from the flags that name modes, which add up. Returns these flags."""
    named = [argument for argument in arguments if known(argument.flag).slot == "speculation"]
    for argument in named:
        if argument.flag == "--spec-default":
            steps.setdefault(_DEFAULT_MODE, {}).update(_DEFAULT_OPTIONS)
            notes.append(Note(argument.flag, f"speculation: {_DEFAULT_MODE} with its options of b11434"))
            continue
        for name in argument.value.split(","):
            mode = _RENAMED.get(name, name)
            if mode == NONE:
                continue
            if mode not in MODES:
                raise NotImportableError(f"{argument.shown}: {unknown_mode(name, (*MODES, NONE))}")
            if mode != name:
                notes.append(Note(argument.shown, f"{name} is called {mode} now"))
            steps.setdefault(mode, {})
    return named


def _option(argument: Argument, steps: Steps, notes: list[Note], origins: list[str]) -> None:
    """Sets an option in the modes that take it. Raises NotImportableError for a value that none takes."""
    flag = known(argument.flag)
    owner, _, key = flag.slot.partition("/")
    takers = [mode for mode in steps if _takes(mode, owner, key)]
    if not takers and flag.removed and owner == DRAFT:
        takers = [mode for mode in steps if key in MODES[mode].options]
    if not takers:
        notes.append(Note(argument.shown, "dropped: no mode of this line takes it"))
        return
    for mode in takers:
        steps[mode][key] = _value(argument, mode, MODES[mode].options[key], key)
    origins.append(argument.shown)
    if flag.removed:
        notes.append(Note(argument.shown, f"{key} of {' and '.join(takers)}; today's builds refuse {argument.flag}"))


def _takes(mode: str, owner: str, key: str) -> bool:
    if owner == DRAFT:
        return MODES[mode].family == "draft"
    return owner == mode or (owner == NGRAM and MODES[mode].family == "ngram" and key in MODES[mode].options)


def _value(argument: Argument, mode: str, option: Option, key: str) -> int | float | str:
    value = argument.value if option.choices else argument.number(whole=option.whole)
    if value == 0 and key == "n_max":
        return 0  # no speculation; the caller reports it
    if (problem := option.problem(value)) is not None:
        raise NotImportableError(f"{argument.shown}: {key} of {mode} {problem}")
    return value
