"""The lines of `check` on speculation: the verdict on a draft, alternatives, and the mode of a start."""

from __future__ import annotations

from collections.abc import Iterable

from app.config.speculation import AUTO, NONE, named
from app.engine.locate import EngineBinary
from app.engine.preflight import doubted
from app.models.catalog import Catalog, ModelSpec
from app.models.gguf.filenames import shards
from app.models.gguf.header_cache import header_of
from app.planner import Planner
from app.speculation.compat import Outcome, mtp_layers
from app.speculation.resolve import ResolvedSpeculation, damage, judged

# Of a model whose draft cannot be used
_WITHOUT = "    so it starts without"


def draft_in_doubt(engine: EngineBinary, spec: ModelSpec) -> list[str]:
    """Yields a warning for a draft that this engine will refuse. Raises GgufError."""
    if spec.draft is None or damage(shards(spec.draft)):
        return []
    text = doubted(engine, header_of(spec.draft).architecture)
    return [] if text is None else [f"  warning: draft: {text}"]


def _of_the_headers(catalog: Catalog, planner: Planner, settled: ResolvedSpeculation) -> list[str]:
    """Yields the verdict on the draft, and other ways to draft. Raises as `planner.settled` does."""
    dialect, verdict = planner.dialect(), settled.verdict
    lines = []
    if verdict is None and settled.spec.requested_mode == AUTO and settled.spec.options.draft:
        # True if the draft is one of the choices of `auto`
        target, draft = catalog.files(settled.spec.ref)
        if damaged := damage(draft):
            lines.append(f"    {Outcome.INCOMPATIBLE}: {damaged}")
        else:
            verdict = judged(target, draft, translates=dialect.translates_vocabularies)
    lines += [] if verdict is None else [f"    {verdict.outcome}: {verdict.reason}"]
    lines += [f"    warning: {warning}" for warning in (verdict.warnings if verdict else ())]
    used = any(step.mode == "draft-mtp" for step in settled.spec.chain)
    if not used and "draft-mtp" in dialect.speculation_modes and mtp_layers(header_of(settled.spec.target)):
        lines.append("    the target has layers for multi-token prediction: `speculation: draft-mtp` needs no draft")
    return lines


def speculation_lines(catalog: Catalog, planner: Planner, settled: ResolvedSpeculation) -> list[str]:
    """Yields the requested mode, the headers' verdict and the launched mode.

    Raises as `planner.settled` does.
    """
    headers = _of_the_headers(catalog, planner, settled)
    if settled.spec.requested_mode == NONE and not headers:
        return []
    lines = [f"  speculation: {settled.spec.requested_mode}", *headers]
    if settled.fallback_reason:
        known = any(line.endswith(f": {settled.fallback_reason}") for line in headers)
        rest = named(settled.spec.chain)
        left = _WITHOUT if rest == NONE else f"    so it starts with {rest} only"
        lines.append(f"{left}{'' if known else f': {settled.fallback_reason}'}")
    return lines


def starts_without(lines: Iterable[str]) -> bool:
    """Tells whether a start lacks the requested speculation."""
    return any(line.lstrip().startswith(_WITHOUT.lstrip()) for line in lines)
