"""`speculation: auto`: which mode an engine starts with, decided anew at each cold start and never in between. Pure.

By the files alone while nothing was measured; then by what traffic has measured, in two phases:

1. Exploring, for ten cold starts at most. Every mode gets two; then the best one and those that may yet be better take
   turns. It ends early where no mode is left that may.
2. The best one. Plain decoding is left for a mode that gains 2 % or more and is sure not to lose as much. What may yet
   be better is tried again, at so few cold starts that it cannot cost 2 % even at the lower end of its interval.
   So a loss is bounded whatever is true, and a gain that one noisy day has hidden is found on another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.config.speculation import NONE, PLAIN, Chain, named
from app.speculation.aggregate import LEVEL_NAMES, LEVELS
from app.speculation.trials import Gain, Trials

# Each mode is tried at so many cold starts, undecided ones at more, and all at no more than so many.
STARTS_PER_MODE, EXPLORING_STARTS = 2, 10
# Below this the memory and the wrong logprobs of a draft are not worth it.
LEAST_GAIN = 0.02
# What exploring may cost in the long run, and a mode at the most for which plain decoding is left.
MOST_LOSS = 0.02
# How often a mode is tried of which nothing is known (any more).
_UNKNOWN_EVERY = 10


@dataclass(frozen=True, slots=True)
class ModeChoice:
    """The modes to start with, the sentence that explains them, and the figures behind it, by mode."""

    chain: Chain
    auto_reason: str
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def fields(self) -> dict[str, Any]:
        """As the admin API shows it."""
        return {"mode": named(self.chain), "why": self.auto_reason, "figures": self.figures}


def choose(arms: Sequence[Chain], by_rule: ModeChoice, trials: Trials) -> ModeChoice:
    """`arms` are all chains that this build and these files allow, plain among them."""
    if not trials.modes:
        return by_rule
    best = _best(arms, by_rule, trials)
    rivals = _rivals(arms, best.chain, trials)
    tried = _to_explore(arms, by_rule, best, rivals, trials) or _due(best, rivals, trials)
    return replace(tried or best, figures=_figures(trials))


def _best(arms: Sequence[Chain], by_rule: ModeChoice, trials: Trials) -> ModeChoice:
    """By what is certain so far."""
    if not trials.goodput(NONE):
        return ModeChoice(by_rule.chain, f"{by_rule.auto_reason} Traffic has not measured plain decoding yet.")
    gains = {arm: gain for arm in arms if arm and (gain := trials.gain(named(arm), NONE)) is not None}
    paying = [arm for arm, gain in gains.items() if gain.mean >= LEAST_GAIN and gain.low >= -MOST_LOSS]
    if paying:
        best = max(paying, key=lambda arm: gains[arm].mean)
        return ModeChoice(best, f"{named(best)}: {gains[best]} against plain decoding.")
    others = "; ".join(f"{named(arm)} {gain}" for arm, gain in gains.items()) or "nothing else was measured"
    criterion = f"gains {LEAST_GAIN:.0%} and is sure not to lose {MOST_LOSS:.0%}"
    return ModeChoice(PLAIN, f"none: no mode {criterion} against plain decoding: {others}.")


def _rivals(arms: Sequence[Chain], best: Chain, trials: Trials) -> dict[Chain, Gain | None]:
    """Who may be better than the best by a gain that is worth it; None for those that nothing is known of.

    Plain decoding is always among them: texts and machines change, and it is what a gain is measured by.
    """
    others = {arm: trials.gain(named(arm), named(best)) for arm in arms if arm != best}
    return {arm: gain for arm, gain in others.items() if arm == PLAIN or gain is None or _promising(gain)}


def _promising(gain: Gain) -> bool:
    return gain.high >= LEAST_GAIN


def _to_explore(
    arms: Sequence[Chain], by_rule: ModeChoice, best: ModeChoice, rivals: Mapping[Chain, Gain | None], trials: Trials
) -> ModeChoice | None:
    """The mode with the fewest cold starts, of those that lack their first ones, else of those that may be the best."""
    if trials.served() >= EXPLORING_STARTS:
        return None
    new = [arm for arm in arms if trials.served(named(arm)) < STARTS_PER_MODE]
    undecided = [arm for arm, gain in rivals.items() if gain is not None and _promising(gain)]
    candidates = new or ([best.chain, *undecided] if undecided else [])
    if not candidates:
        return None

    def turn(arm: Chain) -> tuple[int, int, bool, bool]:
        # A start that nobody asked anything of counts last: it has shown nothing.
        return trials.served(named(arm)), trials.started(named(arm)), arm != by_rule.chain, arm != PLAIN

    arm = min(candidates, key=turn)
    return ModeChoice(arm, f"{named(arm)} is being tried: {_known(arm, best.chain, trials)}.")


def _due(best: ModeChoice, rivals: Mapping[Chain, Gain | None], trials: Trials) -> ModeChoice | None:
    """The rival that has waited for longest, of those whose turn has come."""
    every = {arm: _spacing(gain) * len(rivals) for arm, gain in rivals.items()}
    due = [arm for arm in rivals if trials.since(named(arm)) + 1 >= every[arm]]
    if not due:
        return None
    arm = max(due, key=lambda arm: trials.since(named(arm)))
    again = f"{named(arm)} is being tried again, at one of {every[arm]} cold starts"
    return ModeChoice(arm, f"{again}: {_known(arm, best.chain, trials)}. {best.auto_reason}")


def _spacing(gain: Gain | None) -> int:
    """One of how many cold starts may be a rival's, for it to cost `MOST_LOSS` at the lower end of its interval."""
    return _UNKNOWN_EVERY if gain is None else max(2, math.ceil(-gain.low / MOST_LOSS))


def _known(arm: Chain, best: Chain, trials: Trials) -> str:
    if arm == best:
        return "others are compared with it"
    gain = trials.gain(named(arm), named(best))
    return f"{gain} against {named(best)}" if gain else "nothing is known of it yet"


def _figures(trials: Trials) -> dict[str, dict[str, Any]]:
    """By mode; goodput is what `stats` calls so: tokens per second by level, all requests together."""
    return {mode: _figures_of(mode, trials) for mode in trials.modes}


def _figures_of(mode: str, trials: Trials) -> dict[str, Any]:
    goodput, gain = trials.goodput(mode), trials.gain(mode, NONE) if mode != NONE else None
    return {
        "goodput": {name: round(goodput[level], 2) for level, name in LEVEL_NAMES.items() if level in goodput},
        "gain": gain.fields() if gain else None,
        "requests": trials.requests(mode),
        "cold_starts": trials.started(mode),
    }


def crossing(trials: Trials, mode: str) -> int | None:
    """Requests in flight from which plain decoding is the faster; None where it never was, or nobody knows.

    Drafting makes batches larger: what it gains alone it can lose in company.
    """
    drafted, plain = trials.goodput(mode), trials.goodput(NONE)
    return next((level for level in LEVELS if level in drafted and plain.get(level, 0.0) > drafted[level]), None)
