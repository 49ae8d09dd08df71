"""What `check` says of a model's speculation: what was asked for, what the headers say of it, what will be launched."""

from __future__ import annotations

from collections.abc import Iterator

from app.config.speculation import AUTO, NONE, named
from app.models.catalog import Catalog
from app.models.gguf.remembered import header_of
from app.planner import Planner
from app.speculation.compat import Outcome, mtp_layers
from app.speculation.resolve import Settled, damage, judged


def speculation_lines(catalog: Catalog, planner: Planner, settled: Settled) -> Iterator[str]:
    """Nothing where there is nothing to say; raises as `planner.settled` does."""
    headers = _of_the_headers(catalog, planner, settled)
    if settled.spec.requested_mode == NONE and not headers:
        return
    yield f"  speculation: {settled.spec.requested_mode}"
    yield from headers
    if settled.fallback_reason:
        rest = named(settled.spec.chain)
        left = "without" if rest == NONE else f"with {rest} only"
        yield f"    so it starts {left}: {settled.fallback_reason}"


def _of_the_headers(catalog: Catalog, planner: Planner, settled: Settled) -> list[str]:
    """The verdict on the draft, and what else could draft for the target; raises as `planner.settled` does."""
    dialect, verdict = planner.dialect(), settled.verdict
    lines = []
    if verdict is None and settled.spec.requested_mode == AUTO and settled.spec.options.draft:
        # Whether `auto` has the draft among its choices
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
