"""Commands that run the gateway and prepare its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Alias, AsJson, Config, errors_in_words, one_alias, print_json, print_note, settings_of

commands = typer.Typer()


@commands.command()
def serve(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on [default: 127.0.0.1].")
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port to listen on [default: 8000].")] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Disable authentication, even on non-loopback addresses.")
    ] = False,
    config: Config = None,
) -> None:
    """Run the gateway.

    Each engine starts on the first request for its model.
    """
    with errors_in_words():
        from app.cli.plain_serve import serve as run

        run(config, {"host": host, "port": port, "no_auth": no_auth or None})


@commands.command()
def plan(alias: Alias, as_json: AsJson = False, config: Config = None) -> None:
    """Print the llama-server command for ALIAS.

    Options that were translated for this build of llama-server, and the memory that it takes, are explained on stderr.
    """
    with settings_of(config) as settings:
        from app.cli.check import planned

        start = planned(settings, alias)
        if as_json:
            print_json(start.fields())
            return
        print(start.plan.shell_line())
        for note in start.plan.notes:
            print_note(f"{note.key}: {note.text}")
        if start.memory is not None:
            print_note(f"memory: {start.memory.needs()}; {start.memory.words()}")


@commands.command()
def check(
    alias: Annotated[str | None, one_alias("Check only this model.")] = None,
    config: Config = None,
) -> None:
    """Check whether each model can start.

    Reports the engine, the files, translated options and the last failure. Exits with 1 if a model cannot start.
    """
    with errors_in_words():
        from app.cli.check import inspect
        from app.cli.check_report import tally
        from app.cli.options import coloured
        from app.config.source import SettingsSource
        from app.terminal import say

        settings, reports = SettingsSource(config).read(unset_keys=True), []
        for report in inspect(settings, alias):
            print("\n".join(map(coloured, report.lines)), flush=True)
            reports.append(report)
        say(tally(reports))
    if not all(report.fine for report in reports):
        raise typer.Exit(1)


@commands.command()
def init(
    from_folder: Annotated[
        Path | None, typer.Option("--from-folder", metavar="DIR", help="Search only this folder.")
    ] = None,
    config: Config = None,
) -> None:
    """Write tandem.yaml for the models found here.

    Searches ./models, the caches of the Hub and of llama.cpp, and the folders of LM Studio and Ollama.
    """
    with errors_in_words():
        from app.cli.example import names_of, reason_of_demo, write_example
        from app.cli.found_models import find_models
        from app.config.files import expanded_folder
        from app.engine.memory import this_machine
        from app.terminal import say

        folder = None if from_folder is None else expanded_folder(from_folder)
        found = find_models(folder, this_machine("auto"))
        path = write_example(config or Path("tandem.yaml"), found)
        for model in found:
            say(f"{model.name}: {model.reason()}")
        if demo := reason_of_demo(found):
            say(demo)
        names = names_of(found)
        say(f"Wrote {path}. Models: {', '.join(names)}. Next: llama-tandem run {names[0]}")


@commands.command()
def schema() -> None:
    """Print the JSON schema of tandem.yaml.

    Editors use it to complete keys. To renew the file that `init` wrote:

    llama-tandem schema > tandem.schema.json
    """
    with errors_in_words():
        from app.cli.example import schema_text

        print(schema_text(), end="", flush=True)


# Without interspersed options the flags of the line need no `--` before them. `-hf` is llama.cpp's, not `-h`.
@commands.command(
    "import",
    context_settings={
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
        "ignore_unknown_options": True,
    },
)
def import_(
    words: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="For example: ./llama-server --model tiny.gguf -c 4096")
    ],
    add: Annotated[
        bool, typer.Option("--add", help="Add the entries to tandem.yaml, instead of printing them.")
    ] = False,
    config: Config = None,
) -> None:
    """Convert a llama.cpp command to tandem.yaml.

    Prints the file on stdout and notes about its flags on stderr. Each section of a router's `--models-preset FILE`
    becomes an entry, and each model of a `--models-dir DIR`.
    """
    with errors_in_words(2):
        from app.cli.import_line import import_words

        import_words(words, config, add=add)
