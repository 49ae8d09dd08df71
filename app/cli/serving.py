"""Commands that run the gateway, ready it and talk to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import Alias, AsJson, Config, errors_in_words, tell

if TYPE_CHECKING:
    from app.main import Gateway

commands = typer.Typer()


@commands.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [default: 8000].")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask nobody for a key, not even on a network.")] = False,
    config: Config = None,
) -> None:
    """Run the gateway; engines are started when they are asked for."""
    with errors_in_words():
        from app.config.source import SettingsSource

        source = SettingsSource(config, {"host": host, "port": port, "no_auth": no_auth or None})
        settings = source.read()
        from app.server.serve import serve as run

        run(settings, _announce, source)


async def _announce(gateway: Gateway, url: str) -> None:
    from app.cli.greeting import greet

    await greet(gateway, url)


@commands.command()
def plan(alias: Alias, as_json: AsJson = False, config: Config = None) -> None:
    """Print the exact llama-server command line for ALIAS; what was translated and the memory go to stderr."""
    with errors_in_words():
        from app.cli.check import planned
        from app.config.settings import load_settings

        start = planned(load_settings(config), alias)
        if as_json:
            import json

            print(json.dumps(start.fields(), indent=2))
            return
        print(start.plan.shell_line())
        for note in start.plan.notes:
            tell(f"{note.key}: {note.text}")
        if start.memory is not None:
            tell(f"memory: {start.memory.needs()}; {start.memory.words()}")


@commands.command()
def check(
    alias: Annotated[str | None, typer.Argument(metavar="[ALIAS]", help="Only this model.")] = None,
    config: Config = None,
) -> None:
    """Say whether each model can start: engine, files, translations, last failure."""
    with errors_in_words():
        from app.cli.check import inspect, tally
        from app.cli.options import coloured
        from app.config.source import SettingsSource
        from app.terminal import say

        settings, reports = SettingsSource(config).read(), []
        for report in inspect(settings, alias):
            print("\n".join(map(coloured, report.lines)), flush=True)
            reports.append(report)
        say(tally(reports))
    if not all(report.fine for report in reports):
        raise typer.Exit(1)


@commands.command()
def init(
    from_folder: Annotated[
        Path | None, typer.Option("--from-folder", metavar="DIR", help="Only the models below this folder.")
    ] = None,
    config: Config = None,
) -> None:
    """Write a tandem.yaml with the models that are here.

    It looks into ./models, the caches of the Hub and of llama.cpp, and the folders of LM Studio and Ollama.
    """
    with errors_in_words():
        from app.cli.example import names_of, write_example
        from app.cli.found_models import find_models
        from app.config.files import expanded_folder
        from app.engine.memory import this_machine
        from app.terminal import say

        folder = None if from_folder is None else expanded_folder(from_folder)
        found = find_models(folder, this_machine("auto"))
        path = write_example(config or Path("tandem.yaml"), found)
        for model in found:
            say(f"{model.name}: {model.reason()}")
        names = names_of(found)
        say(f"Wrote {path}. Models: {', '.join(names)}. Next: llama-tandem run {names[0]}")


@commands.command()
def schema() -> None:
    """Print the JSON schema of tandem.yaml.

    `llama-tandem schema > tandem.schema.json` renews the file that `init` has written for editors.
    """
    with errors_in_words():
        from app.cli.example import schema_text

        print(schema_text(), end="", flush=True)


# Without interspersed options the flags of the line need no `--` before them; `-hf` is one of llama.cpp's, no `-h`.
@commands.command("import", context_settings={"allow_interspersed_args": False, "help_option_names": ["--help"]})
def import_(
    words: Annotated[
        list[str], typer.Argument(metavar="LINE", help="Such as: ./llama-server --model tiny.gguf -c 4096")
    ],
    add: Annotated[
        bool, typer.Option("--add", help="Add the entries to tandem.yaml, instead of printing them.")
    ] = False,
    config: Config = None,
) -> None:
    """Print a tandem.yaml for a command line of llama.cpp; what its flags became goes to stderr.

    A router's `--models-preset FILE` becomes an entry a section, its `--models-dir DIR` an entry a model.
    """
    with errors_in_words(2):
        from app.cli.import_line import import_words

        import_words(words, config, add=add)
