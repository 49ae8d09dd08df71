"""The tables of `stats`: the ledger's measurements of the current setup, by alias and mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rich.table import Table

from app.cli.options import records
from app.config.model_entry import AttachedEntry
from app.config.settings import Settings
from app.config.speculation import NONE
from app.errors import TandemError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.planner import Planner
from app.records.ledger import Ledger, Measurement
from app.speculation.aggregate import LEVEL_NAMES, LEVELS, ModeFigures, Stats, ratio, stats_of
from app.terminal import console, say, table

_LEGEND = (
    "TPOT: ms per token after the first. tok/s: goodput, tokens per second of decoding over all requests, by the\n"
    "number of requests in flight."
)
_OF_PLAIN = "x: relative to plain decoding. Lower is better for TPOT, higher for goodput."
_NOTHING_YET = (
    "Nothing has been measured yet. `llama-tandem serve` measures every completion of two or more tokens. "
    "To compare, send requests to a model and to its variant MODEL:plain."
)


@dataclass(frozen=True, slots=True)
class StatsReport:
    """The measurements of an alias. `note` says why there are none, or why they may be of another setup."""

    stats: Stats
    note: str = ""


def stats_now(settings: Settings, alias: str | None) -> list[StatsReport]:
    """Returns reports on the given alias, or on all measured ones. Raises UnknownAlias."""
    catalog, ledger = Catalog(settings), Ledger(records(settings))
    planner = Planner(settings, catalog, ledger)
    if alias is not None:
        return [_report(planner, ledger, catalog.resolve(alias))]
    reports = [_report(planner, ledger, ref) for ref in catalog.refs()]
    return [report for report in reports if report.stats.modes or report.stats.older]


def _report(planner: Planner, ledger: Ledger, ref: ModelRef) -> StatsReport:
    """Reports on the entry, for any of its variants."""
    name, entry = ref.alias, ref.entry
    if isinstance(entry, AttachedEntry):
        return StatsReport(Stats(name, (), 0), f"Attached servers are not measured ({entry.url}).")
    measurements = ledger.measurements(name)
    if not measurements:
        return StatsReport(Stats(name, (), 0), _NOTHING_YET)
    key, note = _key(planner, ref, measurements)
    stats = stats_of(name, measurements, key)
    if not stats.modes:
        note = "Nothing has been measured yet with these files, this engine, these options and this hardware."
    return StatsReport(stats, note)


def _key(planner: Planner, ref: ModelRef, measurements: Sequence[Measurement]) -> tuple[str, str]:
    """Returns the key of the current setup, else the latest one, and why."""
    try:
        return planner.key(ref), ""
    except (TandemError, OSError) as error:
        return measurements[-1].key, f"These figures are of the last measured setup: {error}"


def tables(reports: Sequence[StatsReport], loaded: Mapping[str, str] = MappingProxyType({})) -> None:
    """Prints a table per alias. `loaded` are states of engines that are up."""
    out = console()
    for report in reports:
        stats = report.stats
        state = f" ({loaded[stats.alias]})" if stats.alias in loaded else ""
        out.print(f"{stats.alias}{state}", style="bold", soft_wrap=True)
        if stats.modes:
            out.print(_table(stats))
        if report.note:
            out.print(report.note, soft_wrap=True)
        if stats.older:
            requests = "request" if stats.older == 1 else "requests"
            out.print(f"Left out: {stats.older} {requests} of older setups.", soft_wrap=True)
        out.print()
    if any(report.stats.modes for report in reports):
        compared = any(report.stats.plain is not None and len(report.stats.modes) > 1 for report in reports)
        say(f"{_LEGEND}\n{_OF_PLAIN}" if compared else _LEGEND)
    elif not reports:
        out.print(_NOTHING_YET, soft_wrap=True)


def _table(stats: Stats) -> Table:
    columns = ("mode", "requests", "acceptance", "TPOT p50", "p95", "tok/s at 1", "at 2-3", "at 4+")
    shown = table(*columns, left=("mode",))
    for figures in stats.modes:
        accepted = "-" if figures.acceptance is None else f"{figures.acceptance:.2f}"
        tpots = (_ms(figures.tpot_p50), _ms(figures.tpot_p95))
        values = (*tpots, *(figures.goodput.get(level) for level in LEVELS))
        shown.add_row(figures.mode, str(figures.requests), accepted, *(_number(value) for value in values))
        if stats.plain is not None and figures.mode != NONE:
            against = _against(figures, stats.plain)
            shown.add_row("", "", "", *("" if value is None else f"{value:.2f}x" for value in against))
    return shown


def _against(figures: ModeFigures, plain: ModeFigures) -> list[float | None]:
    """Returns figures in the order of the table's columns."""
    return [
        ratio(figures.tpot_p50, plain.tpot_p50),
        ratio(figures.tpot_p95, plain.tpot_p95),
        *(ratio(figures.goodput.get(level), plain.goodput.get(level)) for level in LEVELS),
    ]


def fields_of(report: StatsReport) -> dict[str, Any]:
    """Returns the JSON form, with `null` for missing figures."""
    stats = report.stats
    modes = []
    for figures in stats.modes:
        values = [_ms(figures.tpot_p50), _ms(figures.tpot_p95), *(figures.goodput.get(level) for level in LEVELS)]
        fields = {
            "mode": figures.mode,
            "requests": figures.requests,
            "tokens": figures.tokens,
            "acceptance": figures.acceptance,
            **_named(values, ("tpot_p50_ms", "tpot_p95_ms")),
        }
        if stats.plain is not None and figures.mode != NONE:
            fields["against_plain"] = _named(_against(figures, stats.plain), ("tpot_p50", "tpot_p95"))
        modes.append(fields)
    return {"alias": stats.alias, "modes": modes, "older": stats.older, "note": report.note}


def _named(values: Sequence[float | None], names: tuple[str, str]) -> dict[str, Any]:
    levels = {LEVEL_NAMES[level]: value for level, value in zip(LEVELS, values[2:], strict=True)}
    return {names[0]: values[0], names[1]: values[1], "goodput": levels}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _number(value: float | None) -> str:
    """Formats three significant figures, without an exponent."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
