"""Commands about models on the Hub and on disk."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli.program import AsJson, Config, errors_in_words

commands = typer.Typer()


@commands.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Aliases, or hf:ORG/REPO[:QUANTIZATION].")],
    include: Annotated[str | None, typer.Option(metavar="PATTERN", help="Which files of hf:ORG/REPO.")] = None,
    add: Annotated[str | None, typer.Option(metavar="ALIAS", help="Write the entry into the settings file.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Replace what has changed on the Hub.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Download models, and go on where an earlier pull stopped; every byte is checked."""
    with errors_in_words():
        from app.config import load_settings

        settings = load_settings(config)
        from app.inspect import unknown_architectures
        from app.store.commands import pull as run
        from app.store.progress import Event
        from app.store.show import shown

        try:
            with shown(as_json) as emit:
                files = run(settings, config, names, emit, include=include, add=add, update=update)
                for text in unknown_architectures(settings, files):
                    emit(Event("note", "", text=f"warning: {text}"))
        except KeyboardInterrupt:
            print("llama-tandem: stopped; pull again to go on from here.", file=sys.stderr)
            raise typer.Exit(130) from None
