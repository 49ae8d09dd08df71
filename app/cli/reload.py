"""`reload`: makes a running gateway read its settings again."""

from __future__ import annotations

import sys

import typer

from app.cli.options import Config, errors_in_words

commands = typer.Typer()


@commands.command()
def reload(config: Config = None) -> None:
    """Apply a changed tandem.yaml.

    A running gateway reads its settings again. Only engines whose settings differ are restarted.
    """
    with errors_in_words():
        from app.cli.admin_client import admin_of_running
        from app.config.changes import Reloaded
        from app.config.source import SettingsSource

        source = SettingsSource(config)
        with admin_of_running(source.read(), source.files()[0]) as client:
            answer = client.post("/admin/reload")
        done = Reloaded(**{name: tuple(names) for name, names in answer.items()})
        for line in done.words():
            print(line)
        for warning in done.warnings:
            print(f"llama-tandem: {warning}", file=sys.stderr)
