"""Reports the places and the memory that pinned models leave for all others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from app.engine.footprint.budget import shortages
from app.scheduler.residency import Residency
from app.terminal import memory_in_words

# From this share on, a used budget leaves no room for another model
_NEARLY_ALL = 0.95
# Names in one line
_SHOWN = 4


def pin_warnings(
    models: Mapping[str, Residency],
    places: int,
    needs: Mapping[str, Mapping[str, int]],
    budgets: Mapping[str, int],
) -> Iterator[str]:
    """Yields the reasons why other models will be refused once all pinned ones are up.

    `places` is `max_loaded`. `needs` gives bytes by place in memory for each model with known needs. `budgets` is the
    memory for all engines together.
    """
    pinned = [alias for alias, residency in models.items() if residency.pin]
    others = [alias for alias in models if alias not in pinned]
    if not pinned:
        return
    takes = "takes" if len(pinned) == 1 else "take"
    if len(pinned) > places:
        yield f"pin: {_named(pinned)} are pinned, and max_loaded is {places}: they cannot all be up"
    elif others and len(pinned) == places:
        left = f"no place is left for {_named(others)}"
        yield f"pin: {_named(pinned)} {takes} all of max_loaded ({places}) once up: {left}"
    if others and (alone := [alias for alias in pinned if models[alias].exclusive]):
        yield f"pin: {_named(alone)} is exclusive and pinned: once it is up nothing else can be loaded"
    yield from _in_memory(pinned, others, needs, budgets)


def _in_memory(
    pinned: Sequence[str], others: Sequence[str], needs: Mapping[str, Mapping[str, int]], budgets: Mapping[str, int]
) -> Iterator[str]:
    held = _together(pinned, needs)
    leaves, takes = ("leaves", "takes") if len(pinned) == 1 else ("leave", "take")
    if len(pinned) > 1 and (short := shortages(held, budgets)):
        for place in short:
            words = f"{memory_in_words(held[place])} of {place}, and its budget is {memory_in_words(budgets[place])}"
            yield f"pin: {_named(pinned)} need {words}: they cannot all be up"
        return
    out = [alias for alias in others if _is_kept_out(needs.get(alias, {}), held, budgets)]
    if out:
        yield f"pin: {_named(pinned)} {leaves} too little memory for {_named(out)} once up"
    elif others:
        for place, size in held.items():
            if size >= _NEARLY_ALL * budgets.get(place, float("inf")):
                yield f"pin: {_named(pinned)} {takes} nearly all of the budget of {place} once up"


def _is_kept_out(own: Mapping[str, int], held: Mapping[str, int], budgets: Mapping[str, int]) -> bool:
    """Whether an engine fits alone, but not beside engines that hold `held`."""
    return not shortages(own, budgets) and bool(shortages(Counter(own) + Counter(held), budgets)) and bool(own)


def _together(aliases: Iterable[str], needs: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for alias in aliases:
        total.update(needs.get(alias, {}))
    return total


def _named(aliases: Sequence[str]) -> str:
    if len(aliases) > _SHOWN:
        return f"{', '.join(aliases[:_SHOWN])} and {len(aliases) - _SHOWN} more"
    return " and ".join(filter(None, (", ".join(aliases[:-1]), aliases[-1])))
