"""Draws the chart: one bar per arm for its goodput, with the interval as a whisker. Writes SVG directly.

Colours follow the viewer's light or dark scheme, light by default. The chart has its own background, so it is legible
on any page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from app.tuning.result import ArmResult, TuningResult

_WIDTH, _ROW, _BAR, _TOP, _BOTTOM = 860, 34, 18, 84, 62
_RIGHT, _PAD, _LETTER, _LONGEST_NAME = 190, 24, 7.6, 40
_STYLE = """
  text { font: 13px ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2430 }
  .title { font-size: 16px; font-weight: 600 }
  .quiet { fill: #5b6475; font-size: 12px }
  .card { fill: #ffffff; stroke: #d5dae3 }
  .grid { stroke: #e3e7ee }
  .base { stroke: #5b6475; stroke-dasharray: 4 4 }
  .plain { fill: #98a2b3 } .arm { fill: #7aa7e8 } .best { fill: #3d9a5f }
  .whisker { stroke: #1f2430; stroke-width: 1.5; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e9ef }
    .quiet { fill: #a3acbd }
    .card { fill: #171a21; stroke: #343a46 }
    .grid { stroke: #2a303b }
    .base { stroke: #a3acbd }
    .plain { fill: #667085 } .arm { fill: #4d7fc9 } .best { fill: #46a86c }
    .whisker { stroke: #e6e9ef }
  }
"""


def draw(result: TuningResult) -> str:
    """Returns an SVG file as text. A run without any block gives a card that says so."""
    rows = [row for row in result.arms if row.goodput is not None]
    height = _TOP + _ROW * max(1, len(rows)) + _BOTTOM
    title = f"Goodput of {result.alias}, by way of decoding"
    body = "\n".join(_body(result, rows, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{_text(title, quote=True)}">\n<style>{_STYLE}</style>\n'
        f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>\n'
        f'<text class="title" x="{_PAD}" y="34">{_text(title)}</text>\n{body}\n</svg>\n'
    )


def _body(result: TuningResult, rows: Sequence[ArmResult], height: int) -> Iterator[str]:
    where = f"{result.rounds} {'round' if result.rounds == 1 else 'rounds'} of {', '.join(result.kinds)}"
    levels = f"{', '.join(map(str, result.levels))} requests in flight"
    slots = f"{result.slots} {'slot' if result.slots == 1 else 'slots'}"
    partial = f" · {result.missing_data}" if result.partial else ""
    yield f'<text class="quiet" x="{_PAD}" y="54">{_text(f"{where} · {levels} · {slots}{partial}")}</text>'
    if not rows:
        yield f'<text x="{_PAD}" y="{_TOP + 20}">No block was measured.</text>'
        return
    left = _PAD + 12 + max(len(_short(row.name)) for row in rows) * _LETTER
    ends = [_interval(row)[1] for row in rows]
    step = _step(max(ends))
    # One long whisker of a short run must not shrink all bars.
    top = min(math.ceil(max(ends) / step) * step, 2.5 * max(row.goodput or 0 for row in rows))
    scale = (_WIDTH - _RIGHT - left) / top
    bottom = _TOP + _ROW * len(rows)
    for tick in range(int(top / step) + 1):
        x = left + tick * step * scale
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>'
        yield f'<text class="quiet" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick * step:g}</text>'
    for number, row in enumerate(rows):
        kind = "best" if result.best and row.name == result.best.name else "arm" if row.arm.chain else "plain"
        yield from _bar(row, kind, left, _TOP + number * _ROW, scale, top)
    base = left + (rows[0].goodput or 0) * scale
    yield f'<line class="base" x1="{base:.1f}" x2="{base:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>'
    note = "tokens per second of decode time; the whisker is the 95 % interval of the gain over plain decoding (none)"
    yield f'<text class="quiet" x="{_PAD}" y="{height - 18}">{note}</text>'


def _bar(row: ArmResult, kind: str, left: float, y: float, scale: float, top: float) -> Iterator[str]:
    goodput, middle = row.goodput or 0, y + _BAR / 2
    low, high = (min(value, top) for value in _interval(row))
    yield f'<text x="{left - 10:.1f}" y="{middle + 4.5:.1f}" text-anchor="end">{_text(_short(row.name))}</text>'
    yield (
        f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" width="{goodput * scale:.1f}" height="{_BAR}" rx="3">'
        f"<title>{_text(row.name)}: {goodput:.2f} tokens/s</title></rect>"
    )
    if high > low:
        a, b = left + low * scale, left + high * scale
        yield (
            f'<path class="whisker" d="M{a:.1f} {middle:.1f}H{b:.1f}M{a:.1f} {middle - 5:.1f}v10'
            f'M{b:.1f} {middle - 5:.1f}v10"/>'
        )
    x = _WIDTH - _RIGHT + 14
    gain = f"{row.estimate.gain:+.1%}" if row.estimate else "plain" if not row.arm.chain else ""
    yield f'<text x="{x}" y="{middle + 4.5:.1f}">{goodput:.1f} tok/s</text>'
    yield f'<text class="quiet" x="{_WIDTH - _PAD}" y="{middle + 4.5:.1f}" text-anchor="end">{gain}</text>'


def _short(name: str) -> str:
    """Shortens chains with many options. The bar's tooltip has the whole name."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _interval(row: ArmResult) -> tuple[float, float]:
    """Returns the interval in tokens per second, from 0 up, or the bar's end without an interval."""
    goodput, estimate = row.goodput or 0.0, row.estimate
    if estimate is None or estimate.low is None or estimate.high is None:
        return goodput, goodput
    base = goodput / (1 + estimate.gain)
    return base * (1 + estimate.low), base * (1 + estimate.high)


def _step(end: float) -> float:
    """Returns a round distance for about six grid lines."""
    rough = max(end, 1e-9) / 6
    power: float = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough)


def _text(value: str, *, quote: bool = False) -> str:
    """Escapes text, and drops control characters that XML 1.0 forbids."""
    clean = "".join(char if char >= " " and char not in "\ufffe\uffff" else " " for char in value)
    return escape(clean, {'"': "&quot;"} if quote else {})
