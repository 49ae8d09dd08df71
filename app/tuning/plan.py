"""Plans a run within its time: the duration per arm, by the first start, and which arms take part. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.config.speculation import Chain
from app.tuning.arms import PLAIN_ARM, Arm
from app.tuning.design import ANSWER_TOKENS, LEAST_ROUNDS

# Time for prefill, and for requests that slow each other down, relative to decoding
_BESIDE_DECODING = 1.5
# The most informative arms first: medium lengths, then cheap modes, then the rest
_PROMISE = (("n_max", 4), "draft-mtp", "ngram-mod", ("n_max", 8), "ngram-simple", ("n_max", 2), "ngram-map-k")


@dataclass(frozen=True, slots=True)
class RunPlan:
    """`arms` take part, `left_out` do not. `seconds` is the time of the least number of rounds for all of them."""

    arms: tuple[Arm, ...]
    left_out: tuple[Arm, ...]
    seconds: float
    words: str


def plan_run(
    arms: Sequence[Arm], own: Chain, *, start: float, tokens_per_second: float, requests_per_round: int, left: float
) -> RunPlan:
    """Plans by the duration of the first arm's `start` and its speed. `left` are the remaining seconds.

    `own` are the entry's current modes. At least two arms take part.
    """
    each = start + _BESIDE_DECODING * requests_per_round * ANSWER_TOKENS[0] / tokens_per_second
    needed = LEAST_ROUNDS * each
    count = max(2, int(left // needed))
    ranked = [PLAIN_ARM, *sorted((arm for arm in arms if arm != PLAIN_ARM), key=lambda arm: _rank(arm, own))]
    going = set(ranked[:count])
    go = tuple(arm for arm in arms if arm in going)
    out = tuple(arm for arm in ranked if arm not in going)
    return RunPlan(go, out, needed * len(arms), _words(arms, go, needed, left))


def _rank(arm: Arm, own: Chain) -> int:
    if own and arm.chain == own:
        return -1
    signs = {step.mode for step in arm.chain} | {item for step in arm.chain for item in step.options.items()}
    return next((at for at, sign in enumerate(_PROMISE) if sign in signs), len(_PROMISE))


def _words(arms: Sequence[Arm], go: Sequence[Arm], needed: float, left: float) -> str:
    names = [arm.name for arm in go]
    which = f"{', '.join(names[:-1])} and {names[-1]}"
    if needed * len(go) > left:
        least = f"{which} need about {in_minutes(needed * len(go))} here for a recommendation"
        return f"{least}, and there are {in_minutes(left)}: give it more with --minutes."
    if len(go) == len(arms):
        return f"{len(arms)} modes need about {in_minutes(needed * len(arms))} here, of {in_minutes(left)}."
    all_of_them = f"{len(arms)} modes need about {in_minutes(needed * len(arms))} here"
    return f"{all_of_them}; {in_minutes(left)} are enough for {which}."


def in_minutes(seconds: float) -> str:
    """Formats `40 s`, `1 minute`, `14 minutes`"""
    if seconds < 55:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return "1 minute" if minutes == 1 else f"{minutes} minutes"
