"""Commands that show a running gateway's log, and edit its settings."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.completion import aliases
from app.cli.options import Config, errors_in_words, settings_of

commands = typer.Typer()
LogModel = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL", help="Show the log of this model's engine [default: of the gateway].", autocompletion=aliases
    ),
]


@commands.command()
def logs(
    model: LogModel = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Print new lines as they appear.")] = False,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="NUMBER", min=0, max=2000, help="Number of lines.")
    ] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    config: Config = None,
) -> None:
    """Show the log of the gateway or an engine."""
    with settings_of(config) as settings:
        from app.cli.log_reader import print_logs

        print_logs(settings, model, follow=follow, lines=lines, as_json=as_json)


@commands.command()
def edit(config: Config = None) -> None:
    """Edit tandem.yaml in $EDITOR and check it."""
    with errors_in_words():
        from app.cli.settings_editor import edit_settings

        edit_settings(config)
