"""Resolves the requested speculation to the launched one, for this build and these files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from app.config.speculation import AUTO
from app.engine.dialect import Dialect
from app.errors import GgufError, LaunchRefusedError
from app.models.catalog import ModelSpec
from app.models.gguf.filenames import shards
from app.models.gguf.header_cache import check_whole_of, header_of, stamp_of
from app.models.gguf.places import misplaced_draft, mixed_shards
from app.speculation.compat import DraftVerdict, Outcome, mtp_layers, verdict


@dataclass(frozen=True, slots=True)
class ResolvedSpeculation:
    """`spec` is what to launch. `fallback_reason` says why its chain differs from the request, or is empty.

    `verdict` is None without a draft for `draft-simple`. `left_out` is a draft that is not launched.
    """

    spec: ModelSpec
    fallback_reason: str = ""
    verdict: DraftVerdict | None = None
    left_out: Path | None = None


def settle(spec: ModelSpec, dialect: Dialect) -> ResolvedSpeculation:
    """Returns `spec` without speculation that cannot work.

    The first call reads headers, which takes some 100 ms for large vocabularies.

    Raises GgufError if the target cannot be read. Raises LaunchRefusedError if speculation cannot work and `on_inert`
    is `fail`.
    """
    options = spec.options.speculation
    # The settings have refused such a chain in an entry. This is a choice of `auto` or `tune`, or a variant.
    too_long = spec.options.too_long(spec.chain)
    verdict, against = (None, f"{too_long.capitalize()}.") if too_long else _judged(spec, dialect)
    if not against or (options.force and not too_long):
        return ResolvedSpeculation(spec, verdict=verdict)
    if options.on_inert == "fail" and spec.requested_mode != AUTO:  # Here the choice may be plain decoding
        tries = "" if too_long else "; force: true would try"
        raise LaunchRefusedError(f"speculation: {against} on_inert: plain would start without it{tries}.")
    rest = () if too_long else tuple(step for step in spec.chain if step.family != "draft")
    return ResolvedSpeculation(replace(spec, chain=rest, draft=None), against, verdict, left_out=spec.draft)


def _judged(spec: ModelSpec, dialect: Dialect) -> tuple[DraftVerdict | None, str]:
    """Returns the verdict, and the reason against the chain or ""."""
    modes = {step.mode for step in spec.chain}
    if spec.draft is not None and (damaged := damage(shards(spec.draft))):
        return None, damaged
    if "draft-simple" in modes and spec.draft is not None:
        verdict = judged(shards(spec.target), shards(spec.draft), translates=dialect.translates_vocabularies)
        return verdict, verdict.reason if verdict.outcome is Outcome.INCOMPATIBLE else ""
    if "draft-mtp" in modes and spec.draft is None and not mtp_layers(header_of(spec.target)):
        return None, "The target has no layers for multi-token prediction, which draft-mtp needs."
    return None, ""


def judged(target: Sequence[Path], draft: Sequence[Path], *, translates: bool) -> DraftVerdict:
    """Returns `compat.verdict`, cached while the files stay the same. Raises GgufError."""
    return _remembered(tuple(target), tuple(draft), translates, tuple(map(stamp_of, (*target, *draft))))


def damage(draft: Sequence[Path]) -> str:
    """Returns why a draft's files cannot be loaded, in a sentence, or ""."""
    try:
        return _damage(tuple(draft), tuple(map(stamp_of, draft)))
    except GgufError as error:
        return f"The draft cannot be used: {error}."


@lru_cache(maxsize=256)
def _damage(draft: tuple[Path, ...], _stamps: object) -> str:
    """Checks the files. Raises GgufError."""
    for path in draft:
        check_whole_of(path)
    wrong = mixed_shards(draft) or misplaced_draft(header_of(draft[0]))
    return f"The draft cannot be used: {wrong}" if wrong else ""


@lru_cache(maxsize=256)
def _remembered(target: tuple[Path, ...], draft: tuple[Path, ...], translates: bool, _stamps: object) -> DraftVerdict:
    return verdict(target, draft, translates=translates)
