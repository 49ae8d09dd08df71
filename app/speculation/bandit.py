"""Chooses the mode of each cold start for `speculation: auto`, and never changes it in between. Pure.

Without measurements the files decide. With measurements there are two phases:

1. Exploring, for ten cold starts at most. Every mode gets two. Then the best mode and its possible rivals take turns.
The phase ends early if no rival remains.

2. The best mode. A mode replaces plain decoding if it gains 2 % or more and surely does not lose as much. Rivals are
tried again, at so few cold starts that this costs 2 % at most, even at the lower end of their intervals. So the loss is
bounded in any case, and a gain hidden by one noisy day is found on another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.config.speculation import NONE, PLAIN, Chain, named
from app.speculation.aggregate import LEVEL_NAMES, LEVELS
from app.speculation.trials import Gain, Trials

# Cold starts per mode, more for an undecided one, and the limit for all modes together.
STARTS_PER_MODE, EXPLORING_STARTS = 2, 10
# A smaller gain is not worth the memory and the wrong logprobs of a draft.
LEAST_GAIN = 0.02
# The limit of what exploring may cost in the long run, and of the loss of a mode that replaces plain decoding.
MOST_LOSS = 0.02
# The interval of starts with a mode without (current) measurements.
_UNKNOWN_EVERY = 10


@dataclass(frozen=True, slots=True)
class ModeChoice:
    """The modes to start with, a sentence that explains them, and the figures by mode."""

    chain: Chain
    auto_reason: str
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def fields(self) -> dict[str, Any]:
        """Returns the fields of the admin API."""
        return {"mode": named(self.chain), "why": self.auto_reason, "figures": self.figures}


def choose(arms: Sequence[Chain], by_rule: ModeChoice, trials: Trials) -> ModeChoice:
    """Chooses a mode. `arms` are all chains that build and files allow, plain included."""
    if not trials.modes:
        return by_rule
    best = _best(arms, by_rule, trials)
    rivals = _rivals(arms, best.chain, trials)
    tried = _to_explore(arms, by_rule, best, rivals, trials) or _due(best, rivals, trials)
    return replace(tried or best, figures=figures_of(trials))


def _best(arms: Sequence[Chain], by_rule: ModeChoice, trials: Trials) -> ModeChoice:
    """Returns the best mode by what is certain so far."""
    if not trials.goodput(NONE):
        return ModeChoice(by_rule.chain, f"{by_rule.auto_reason} Traffic has not measured plain decoding yet.")
    gains = {arm: gain for arm in arms if arm and (gain := trials.gain(named(arm), NONE)) is not None}
    paying = [arm for arm, gain in gains.items() if gain.mean >= LEAST_GAIN and gain.low >= -MOST_LOSS]
    if paying:
        best = max(paying, key=lambda arm: gains[arm].mean)
        return ModeChoice(best, f"{named(best)}: {gains[best]} against plain decoding.")
    others = "; ".join(f"{named(arm)} {gain}" for arm, gain in gains.items()) or "nothing else was measured"
    criterion = f"gains {LEAST_GAIN:.0%} and surely does not lose {MOST_LOSS:.0%}"
    return ModeChoice(PLAIN, f"none: no mode {criterion} against plain decoding: {others}.")


def _rivals(arms: Sequence[Chain], best: Chain, trials: Trials) -> dict[Chain, Gain | None]:
    """Maps modes that may beat the best by a relevant gain to that gain, None if unmeasured.

    Plain decoding is always among them: texts and machines change, and gains are relative to it.
    """
    others = {arm: trials.gain(named(arm), named(best)) for arm in arms if arm != best}
    return {arm: gain for arm, gain in others.items() if arm == PLAIN or gain is None or _promising(gain)}


def _promising(gain: Gain) -> bool:
    return gain.high >= LEAST_GAIN


def _to_explore(
    arms: Sequence[Chain], by_rule: ModeChoice, best: ModeChoice, rivals: Mapping[Chain, Gain | None], trials: Trials
) -> ModeChoice | None:
    """Returns the least tried mode: of those that lack their first starts, else of the possible rivals."""
    if trials.served() >= EXPLORING_STARTS:
        return None
    new = [arm for arm in arms if trials.served(named(arm)) < STARTS_PER_MODE]
    undecided = [arm for arm, gain in rivals.items() if gain is not None and _promising(gain)]
    candidates = new or ([best.chain, *undecided] if undecided else [])
    if not candidates:
        return None

    def turn(arm: Chain) -> tuple[int, int, bool, bool]:
        # A start without requests counts least, since it measured nothing.
        return trials.served(named(arm)), trials.started(named(arm)), arm != by_rule.chain, arm != PLAIN

    arm = min(candidates, key=turn)
    return ModeChoice(arm, f"{named(arm)} is being tried: {_known(arm, best.chain, trials)}.")


def _due(best: ModeChoice, rivals: Mapping[Chain, Gain | None], trials: Trials) -> ModeChoice | None:
    """Returns the rival that has waited longest, of those that are due."""
    every = {arm: _spacing(gain) * len(rivals) for arm, gain in rivals.items()}
    due = [arm for arm in rivals if trials.since(named(arm)) + 1 >= every[arm]]
    if not due:
        return None
    arm = max(due, key=lambda arm: trials.since(named(arm)))
    again = f"{named(arm)} is being tried again, at one of {every[arm]} cold starts"
    return ModeChoice(arm, f"{again}: {_known(arm, best.chain, trials)}. {best.auto_reason}")


def _spacing(gain: Gain | None) -> int:
    """Returns the number of cold starts per start of a rival, so that it costs `MOST_LOSS` at the lower end of its
    interval."""
    return _UNKNOWN_EVERY if gain is None else max(2, math.ceil(-gain.low / MOST_LOSS))


def _known(arm: Chain, best: Chain, trials: Trials) -> str:
    if arm == best:
        return "others are compared with it"
    gain = trials.gain(named(arm), named(best))
    return f"{gain} against {named(best)}" if gain else "nothing is known of it yet"


def figures_of(trials: Trials) -> dict[str, dict[str, Any]]:
    """Returns the figures by mode. Goodput is as in `stats`: tokens per second by level, all requests together."""
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
    """Returns the number of requests in flight from which plain decoding is faster. None means never, or unknown.

    Drafting enlarges batches: its gain for one request can become a loss for several.
    """
    drafted, plain = trials.goodput(mode), trials.goodput(NONE)
    return next((level for level in LEVELS if level in drafted and plain.get(level, 0.0) > drafted[level]), None)
