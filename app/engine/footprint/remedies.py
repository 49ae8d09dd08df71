"""Finds changes that make an engine fit: less context, fewer slots, a smaller cache, no draft, a smaller file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from app.engine.devices import Device
from app.engine.footprint.budget import shortages
from app.engine.footprint.estimate import estimate, fits_in
from app.engine.footprint.footprint import Footprint
from app.engine.footprint.load_options import LoadOptions, read_options
from app.terminal import size_in_words

_LEAST_CONTEXT, _STEP = 1024, 256


class _Of(Protocol):
    """Computes the footprint with more flags, or without some."""

    def __call__(self, *flags: str, without: Sequence[str] = ()) -> Footprint: ...


def remedies(argv: Sequence[str], devices: Sequence[Device], host: int | None, budgets: Mapping[str, int]) -> list[str]:
    """Changes of an entry, in its own spelling, each of which is enough alone. Raises GgufError."""

    def of(*flags: str, without: Sequence[str] = ()) -> Footprint:
        return estimate([*_without(argv, without), *flags], devices, host)

    options, whole = read_options(argv), of()
    changes = [words for words, changed in _changes(options, whole, of) if fits_in(changed, budgets)]
    if context := _context_that_fits(of, whole, budgets):
        changes.insert(0, f"ctx_size: {context}")
    return changes or _smaller_file(of, whole, budgets)


def _changes(options: LoadOptions, whole: Footprint, of: _Of) -> Iterator[tuple[str, Footprint]]:
    if options.slots > 1:
        share = whole.context // options.slots
        yield f"parallel: 1 with ctx_size: {share}", of("--parallel", "1", "--ctx-size", str(share))
    if options.place.key_type == "f16" and options.flash:
        types = ("--cache-type-k", "q8_0", "--cache-type-v", "q8_0")
        yield f"args: [{', '.join(types)}]", of(*types)
    if options.draft is not None:
        yield "no draft", of(without=("-md", "--model-draft", "--spec-draft-model", "--spec-type"))


def _context_that_fits(of: _Of, whole: Footprint, budgets: Mapping[str, int]) -> int:
    """The largest context that fits, 0 if none does."""
    low, high = _LEAST_CONTEXT // _STEP, whole.context // _STEP
    if low >= high or not fits_in(of("--ctx-size", str(low * _STEP)), budgets):
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits_in(of("--ctx-size", str(middle * _STEP)), budgets) else (low, middle)
    return low * _STEP


def _smaller_file(of: _Of, whole: Footprint, budgets: Mapping[str, int]) -> list[str]:
    """The necessary size of the weights, if nothing else is enough."""
    least = of("--ctx-size", str(min(_LEAST_CONTEXT, whole.context or _LEAST_CONTEXT)))
    short = sum(shortages(least.by_device(), budgets).values())
    weights = sum(size for (_, use), size in least.by_use().items() if use == "weights")
    if weights <= short:
        return []
    return [f"a smaller quantization: files of {size_in_words(weights - short)} at most, not {size_in_words(weights)}"]


def _without(argv: Sequence[str], names: Sequence[str]) -> list[str]:
    """The command line without these flags and their values."""
    rest, skip = [], False
    for arg in argv:
        if skip:
            skip = False
        elif arg in names:
            skip = True
        else:
            rest.append(arg)
    return rest
