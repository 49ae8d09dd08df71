"""Commands about speed: measured requests, and the fastest speculation mode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Alias, Config, one_alias, print_json, settings_of

commands = typer.Typer()


@commands.command()
def stats(
    alias: Annotated[str | None, one_alias("Show only this model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (times in milliseconds).")] = False,
    config: Config = None,
) -> None:
    """Compare speculation modes from real traffic.

    Shows acceptance, time per token and goodput of each mode.
    """
    with settings_of(config) as settings:
        from app.cli.running_gateway import loaded_models
        from app.cli.stats import fields_of, stats_now, tables

        reports = stats_now(settings, alias)
        if as_json:
            print_json([fields_of(report) for report in reports])
        else:
            tables(reports, loaded_models(settings))


@commands.command()
def tune(
    alias: Alias,
    modes: Annotated[
        str | None, typer.Option(metavar="MODE,...", help="Compare only these modes with plain decoding.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own prompts, one per line or paragraph.")
    ] = None,
    minutes: Annotated[
        str, typer.Option(metavar="TIME", help="Time limit in minutes, or with a unit: 90s, 1h30m.")
    ] = "10",
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File for the chart [default: ./tune-ALIAS.svg].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Config = None,
) -> None:
    """Benchmark speculation modes for ALIAS.

    Measures which mode delivers most tokens per second. Ctrl-C keeps the results so far.
    """
    with settings_of(config) as settings:
        from app.tuning.command import TuneOptions
        from app.tuning.command import tune as measure

        only = tuple(mode.strip() for mode in modes.split(",") if mode.strip()) if modes is not None else None
        code = measure(settings, alias, TuneOptions(only, prompts, _minutes(minutes), chart, as_json))
    if code:
        raise typer.Exit(code)


def _minutes(text: str) -> float:
    from app.errors import ConfigError
    from app.units import DURATION_UNITS, seconds_of

    try:
        return float(text)
    except ValueError:
        pass
    try:
        return seconds_of(text) / 60
    except ValueError:
        raise ConfigError([f"--minutes: must be minutes, or {DURATION_UNITS}; not {text!r}"]) from None
