"""The program: every command by topic, and what surrounds each."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import (
    conversation_commands,
    engine_commands,
    keys,
    log_commands,
    models,
    node_commands,
    open_page,
    reload,
    serving,
)
from app.cli import stats_commands as figures
from app.cli.completion import completed_at_colons
from app.cli.error_lines import report_system_errors
from app.cli.help_page import PlainHelpCommand

if TYPE_CHECKING:
    from app.server.prepared import PreparedGateway

cli = typer.Typer(
    name="llama-tandem",
    help="An OpenAI-compatible gateway in front of llama.cpp's llama-server, with or without a draft model.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Ordered as on the help page
_TOPICS = (
    *(serving, reload, open_page, conversation_commands, engine_commands, node_commands, log_commands, models, figures),
    keys,
)
for topic in _TOPICS:
    cli.add_typer(topic.commands)
    for command in topic.commands.registered_commands:
        command.cls = PlainHelpCommand
for command in (*keys.keys.registered_commands, *node_commands.node.registered_commands):
    command.cls = PlainHelpCommand


def _print_version(requested: bool) -> None:
    if requested:
        from app import version

        print(f"llama-tandem {version()}")
        raise typer.Exit


@cli.command("version", hidden=True)
def _version_command() -> None:
    """Print the version, as --version does."""
    _print_version(True)


@cli.callback()
def _global(
    _version: Annotated[
        bool, typer.Option("--version", "-v", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(prepared: PreparedGateway | None = None) -> None:
    """Runs the command line. `prepared` is what `run` has started before the imports."""
    # No plugin is used, and pydantic would read the metadata of every installed package for them
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with report_system_errors(), completed_at_colons():
            cli(prog_name="llama-tandem", obj=prepared)
    finally:
        # The command has ended. Python would print a traceback for Ctrl-C while it ends itself.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
