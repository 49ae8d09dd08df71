"""Lists the modes that `auto` can choose from, given files and build, and its first choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from app.config.speculation import PLAIN, Chain, Step
from app.engine.dialect import Dialect
from app.models.gguf.header import read_header
from app.speculation.bandit import ModeChoice
from app.speculation.compat import Outcome, mtp_layers, small_enough
from app.speculation.resolve import damage, judged

_NO_DRAFT = "there is no draft that is compatible and small enough"
_DRAFT, _MTP, _NGRAM = (Step("draft-simple"),), (Step("draft-mtp"),), (Step("ngram-mod"),)


def candidates(
    target: Sequence[Path], draft: Sequence[Path], dialect: Dialect, fits: Callable[[Chain], bool]
) -> tuple[list[Chain], ModeChoice]:
    """Returns all chains worth trying, plain first, and the choice by rule. Models are given by all their shards.

    `fits` tells whether the memory holds a chain's drafts.

    The rule: a small compatible draft, else the target's own layers for multi-token prediction, else n-grams, which
    cost very little, else plain decoding. Raises GgufError if the target cannot be read.
    """
    arms, rules = [PLAIN], []
    if draft and not damage(draft) and ("draft-simple" in dialect.speculation_modes or not dialect.speculation_modes):
        verdict = judged(target, draft, translates=dialect.translates_vocabularies)
        if verdict.outcome is not Outcome.INCOMPATIBLE:
            arms.append(_DRAFT)
        if verdict.outcome is Outcome.COMPATIBLE and small_enough(target, draft):
            rules.append(ModeChoice(_DRAFT, "draft-simple by rule: the draft is compatible and small enough."))
    if mtp_layers(read_header(target[0])) and "draft-mtp" in dialect.speculation_modes:
        arms.append(_MTP)
        rules.append(ModeChoice(_MTP, "draft-mtp by rule: the target has layers for multi-token prediction."))
    if "ngram-mod" in dialect.speculation_modes:
        arms.append(_NGRAM)
        rules.append(ModeChoice(_NGRAM, f"ngram-mod by rule: {_NO_DRAFT}, and n-grams cost very little."))
    rules.append(ModeChoice(PLAIN, f"No speculation by rule: {_NO_DRAFT}, and ngram-mod is not available."))
    return [arm for arm in arms if fits(arm)], next(rule for rule in rules if fits(rule.chain))
