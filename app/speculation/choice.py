"""`speculation: auto`: which mode an engine starts with, decided anew at each cold start and never in between.

In this order: what `tune` found; what live traffic has measured, with an exploring phase that is over after ten cold
starts; a rule that looks at the files alone. Plain decoding is left only for a gain that is certain and worth it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.ledger import Measurement
from app.modes import NONE, PLAIN, Chain, named

# Each arm is tried at so many cold starts, undecided ones at more, and no more than so many in all.
STARTS_PER_ARM, EXPLORING_STARTS = 2, 10
# Fewer requests than this are an anecdote.
LEAST_REQUESTS = 3
# Below this the memory and the wrong logprobs of a draft are not worth it.
LEAST_GAIN = 0.02
_Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Rate:
    """Seconds of decode per token over `requests`, with the standard error of that mean."""

    seconds_per_token: float
    error: float
    requests: int

    @property
    def goodput(self) -> float:
        """Tokens per second of decode."""
        return 1 / self.seconds_per_token


@dataclass(frozen=True, slots=True)
class Gain:
    """Goodput over plain's, less one, with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def pays(self) -> bool:
        return self.low > 0 and self.mean >= LEAST_GAIN


@dataclass(frozen=True, slots=True)
class Choice:
    """The modes to start with, the sentence that explains them, and the figures behind it, by mode."""

    chain: Chain
    why: str
    figures: Mapping[str, Mapping[str, float | int | None]] = field(default_factory=dict, hash=False)

    def fields(self) -> dict[str, Any]:
        """As the admin API shows it; goodput in tokens per second of decode."""
        return {"mode": named(self.chain), "why": self.why, "figures": self.figures}


def rate(measured: Iterable[Measurement]) -> Rate | None:
    """Decode seconds over tokens, longer answers counting more; None for too few requests that tell both.

    The error is that of a ratio of sums: answers differ in length, and long ones in what they repeat.
    """
    pairs = [(row.tpot * (row.tokens - 1), row.tokens - 1) for row in measured if row.tpot and row.tokens > 1]
    if len(pairs) < LEAST_REQUESTS:
        return None
    count, tokens = len(pairs), sum(n for _, n in pairs)
    mean = sum(seconds for seconds, _ in pairs) / tokens
    spread = sum((seconds - mean * n) ** 2 for seconds, n in pairs) / (count * (count - 1))
    return Rate(mean, math.sqrt(spread) / (tokens / count), count)


def gain(arm: Rate, plain: Rate) -> Gain:
    """By the delta method on the logarithm of the ratio."""
    ratio = plain.seconds_per_token / arm.seconds_per_token
    error = math.hypot(arm.error / arm.seconds_per_token, plain.error / plain.seconds_per_token)
    return Gain(ratio - 1, ratio * math.exp(-_Z95 * error) - 1, ratio * math.exp(_Z95 * error) - 1)


def choose(
    arms: Sequence[Chain],
    by_rule: Choice,
    *,
    measured: Mapping[str, Sequence[Measurement]],
    starts: Mapping[str, int],
    tuned: Choice | None = None,
) -> Choice:
    """`arms` are all chains that this build and these files allow, plain among them; figures are by chain's name.

    `measured`, `starts` (cold starts so far) and `tuned` hold for the same files, build, hardware and options.
    """
    if tuned is not None:
        return tuned
    if not starts and not measured:
        return by_rule
    rates = {name: rate(rows) for name, rows in measured.items()}
    exploring = _to_try(arms, by_rule, starts, rates)
    if exploring is not None:
        tried = sum(starts.values())
        why = f"{named(exploring)} is being tried: cold start {tried + 1} of {EXPLORING_STARTS} at most."
        found = Choice(exploring, why)
    else:
        found = _best(arms, by_rule, rates)
    return replace(found, figures=_figures(rates, starts))


def _figures(rates: Mapping[str, Rate | None], starts: Mapping[str, int]) -> dict[str, dict[str, float | int | None]]:
    return {
        mode: {
            "goodput": round(found.goodput, 2) if (found := rates.get(mode)) else None,
            "requests": found.requests if found else None,
            "cold_starts": starts.get(mode, 0),
        }
        for mode in sorted({*rates, *starts})
    }


def _to_try(
    arms: Sequence[Chain], by_rule: Choice, starts: Mapping[str, int], rates: Mapping[str, Rate | None]
) -> Chain | None:
    """The arm with the fewest starts while there are some to be made; what the rule would take first.

    Once each has had its own, the starts that are left go to plain decoding and to those that may yet pay.
    """
    if sum(starts.values()) >= EXPLORING_STARTS:
        return None
    tried = [chain for chain in arms if starts.get(named(chain), 0) >= STARTS_PER_ARM]
    wanted = list(arms)
    if len(tried) == len(arms):
        undecided = [chain for chain in arms if chain and _undecided(rates.get(named(chain)), rates.get(NONE))]
        wanted = [PLAIN, *undecided] if undecided else []
    ordered = sorted(wanted, key=lambda chain: (starts.get(named(chain), 0), chain != by_rule.chain, chain != PLAIN))
    return ordered[0] if ordered else None


def _undecided(arm: Rate | None, plain: Rate | None) -> bool:
    """Whether more figures could show a gain that those at hand do not; without any, nobody asks for the model."""
    if arm is None or plain is None:
        return False
    found = gain(arm, plain)
    return not found.pays and found.high >= LEAST_GAIN


def _best(arms: Sequence[Chain], by_rule: Choice, rates: Mapping[str, Rate | None]) -> Choice:
    plain = rates.get(NONE)
    if plain is None:
        return Choice(by_rule.chain, f"{by_rule.why} Traffic has not measured plain decoding yet.")
    gains = {chain: gain(found, plain) for chain in arms if chain and (found := rates.get(named(chain))) is not None}
    against = f"plain decoding made {plain.goodput:.1f} tokens/s over {plain.requests} requests"
    paying = [chain for chain, found in gains.items() if found.pays]
    if not paying:
        others = "; ".join(f"{named(chain)} {_percent(found)}" for chain, found in gains.items()) or "nothing else has"
        return Choice(PLAIN, f"Nothing measured gains at least {LEAST_GAIN:.0%} for certain: {against}; {others}.")
    chain = max(paying, key=lambda chain: gains[chain].mean)
    found = rates[named(chain)]
    assert found is not None
    figures = f"{found.goodput:.1f} tokens/s over {found.requests} requests, {_percent(gains[chain])}"
    return Choice(chain, f"{named(chain)} made {figures}; {against}.")


def _percent(found: Gain) -> str:
    return f"{found.mean:+.1%} (95 % interval {found.low:+.1%} to {found.high:+.1%})"


def crossing(drafted: Sequence[Measurement], plain: Sequence[Measurement]) -> int | None:
    """Requests in flight from which plain decoding is the faster; None where it never was, or nobody knows.

    Drafting makes batches larger: what it gains alone it can lose in company.
    """
    for low, high in ((1, 1), (2, 3), (4, math.inf)):
        here = [rate(row for row in rows if low <= row.in_flight <= high) for rows in (drafted, plain)]
        if here[0] is not None and here[1] is not None and here[1].seconds_per_token < here[0].seconds_per_token:
            return low
    return None
