"""Prints a run's result: a table, the gains in detail, and the recommendation."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.config.speculation import Chain, Step
from app.speculation.bandit import LEAST_GAIN
from app.terminal import size_in_words
from app.tuning.result import ArmResult, TuningResult


def show(result: TuningResult, console: Console) -> None:
    """Prints the report."""
    console.print(_main(result))
    if any(row.gain_by for row in result.arms):
        console.print(_details(result))
    for line in words(result):
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def words(result: TuningResult) -> Iterator[str]:
    """Returns the lines below the tables."""
    for row in result.arms:
        if row.failed:
            yield f"{row.name} was left out: {sentence(row.failed)}"
    for name, why in result.left_out:
        yield f"{name} was not tried: {sentence(why)}"
    yield from _texts(result)
    if result.ended:
        yield f"The run ended early: {sentence(result.ended)}"
    yield ""
    yield from recommendation(result)


def sentence(text: str) -> str:
    """Ends a text with exactly one full stop."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def recommendation(result: TuningResult) -> Iterator[str]:
    """Returns the recommendation and its reason."""
    if result.partial:
        yield f"No recommendation: {result.missing_data}. Give it more time with --minutes, or fewer --modes."
        return
    best = result.best
    if best is None:
        yield f"Recommendation: none, plain decoding. {_why_none(result)}"
        return
    estimate = best.estimate
    assert estimate is not None
    yield (
        f"Recommendation: {best.name}. It delivers {estimate.gain:.1%} more tokens per second than plain decoding "
        f"(95 % interval {_interval(best)}, {estimate.blocks} blocks)."
    )
    losses = [f"{_where(part)} ({gain:+.1%})" for part, gain in best.gain_by.items() if gain < -LEAST_GAIN]
    if losses:
        yield f"It is slower than plain decoding with {', '.join(losses)}."
    yield f"In tandem.yaml: speculation: {as_entry(best.arm.chain)}"


def _where(part: str | int) -> str:
    return f"{part} in flight" if isinstance(part, int) else part


def _why_none(result: TuningResult) -> str:
    rows = [row for row in result.arms if row.estimate is not None and not row.failed]
    if not rows:
        return "No other mode was measured."
    best = max(rows, key=lambda row: row.estimate.gain if row.estimate else -1)
    estimate = best.estimate
    assert estimate is not None
    interval = f", 95 % interval {_interval(best)}" if estimate.low is not None else ", too few blocks for an interval"
    return (
        f"A change needs a gain that is certain and at least {LEAST_GAIN:.0%}; "
        f"the best arm, {best.name}, is at {estimate.gain:+.1%}{interval}."
    )


def as_entry(chain: Chain) -> str:
    """Returns the value of `speculation` in an entry, as one line of YAML."""
    steps = [_step(step) for step in chain]
    if not steps:
        return "none"
    return steps[0] if len(steps) == 1 else f"{{mode: [{', '.join(steps)}]}}"


def _step(step: Step) -> str:
    options = "".join(f", {key}: {value}" for key, value in step.options.items())
    return f"{{mode: {step.mode}{options}}}" if options else step.mode


def _texts(result: TuningResult) -> Iterator[str]:
    """Compares the greedy answers. Speculation promises equal ones, but rounding can change them."""
    for row in result.arms:
        if row.difference is not None:
            kind, plain, other = row.difference
            yield (
                f"{row.name} changed {row.differing} of {row.answers} greedy answers. The first, {kind}: "
                f"plain {plain!r}, here {other!r}."
            )
    compared = [row for row in result.arms if row.answers and not row.failed]
    if compared and not any(row.differing for row in compared):
        yield "All arms gave the same greedy answers as plain decoding."


def _main(result: TuningResult) -> Table:
    title = f"{result.alias}: {result.rounds} {'round' if result.rounds == 1 else 'rounds'}"
    table = _table(title)
    gpu = any(row.gpu_memory for row in result.arms)
    for name in ("tok/s", "gain", "95 % interval", "accepted", "memory", *(("GPU",) if gpu else ()), "blocks"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.arms:
        cells = [
            f"{row.goodput:.1f}" if row.goodput is not None else "",
            _percent(row.estimate.gain) if row.estimate else "plain" if not row.arm.chain else "",
            _interval(row),
            f"{row.acceptance:.0%}" if row.acceptance is not None else "",
            _bytes(row.memory),
            *((_bytes(row.gpu_memory),) if gpu else ()),
            f"{row.blocks}, out" if row.failed or row.dropped else str(row.blocks),
        ]
        style = "bold green" if row is result.best else "dim" if row.failed or row.dropped else ""
        table.add_row(Text(row.name), *cells, style=style)
    return table


def _details(result: TuningResult) -> Table:
    table = _table("Gain by text, and by requests in flight")
    parts: list[str | int] = [*result.kinds, *result.levels]
    for part in parts:
        # Two short lines, so that eight columns fit into a terminal of 80.
        table.add_column(f"{part} in\nflight" if isinstance(part, int) else part.replace(" ", "\n"), justify="right")
    for row in result.arms:
        if row.gain_by:
            gains = [_percent(row.gain_by[part]) if part in row.gain_by else "" for part in parts]
            table.add_row(Text(row.name), *gains, style="bold green" if row is result.best else "")
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("")
    return table


def _percent(share: float) -> str:
    """Formats a share with the precision of a measurement."""
    return f"{share:+.1%}" if abs(share) < 0.1 else f"{share:+.0%}"


def _interval(row: ArmResult) -> str:
    estimate = row.estimate
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{_percent(estimate.low)} to {_percent(estimate.high)}"


def _bytes(size: int | None) -> str:
    return "" if size is None else size_in_words(size, digits=1)
