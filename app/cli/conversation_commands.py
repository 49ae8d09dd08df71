"""Commands that chat with a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.completion import aliases, model_names
from app.cli.options import Config, errors_in_words, settings_of

if TYPE_CHECKING:
    from app.config.settings import Settings

commands = typer.Typer()
OptionalAlias = Annotated[
    str | None,
    typer.Argument(metavar="ALIAS", help="Name of a model [default: the only one].", autocompletion=aliases),
]
_NAME = "An alias, ORG/REPO[:QUANTIZATION] or a .gguf file."
RunName = Annotated[str | None, typer.Argument(metavar="NAME", help=_NAME, autocompletion=model_names)]
System = Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")]
Temperature = Annotated[float | None, typer.Option(metavar="NUMBER", min=0, help="Sampling temperature.")]
MaxTokens = Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Maximum tokens of an answer.")]
NoThoughts = Annotated[bool, typer.Option("--no-thoughts", help="Hide the reasoning of the model.")]


@commands.command()
def chat(
    alias: OptionalAlias = None,
    prompt: Annotated[list[str] | None, typer.Argument(metavar="PROMPT", help="Ask one question and exit.")] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of the gateway [default: from tandem.yaml].")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with an API key [default: the key of this machine].")
    ] = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    no_thoughts: NoThoughts = False,
    lines: Annotated[bool, typer.Option("--lines", help="Send each line of stdin as a message of its own.")] = False,
    config: Config = None,
) -> None:
    """Chat with a model of a running gateway.

    Without a terminal, stdin is one message and only the answer is printed. Exits with 1 if an answer fails.
    """
    with errors_in_words():
        from app.auth.local_admin_key import local_secret
        from app.cli.chat import chat as converse
        from app.cli.chat import read_key
        from app.config.settings import load_settings, root_url

        # The key of this machine is never sent to an address from the command line.
        key = read_key(key_file) if key_file else None
        ours, history = url is None, None
        if url is None:
            settings = load_settings(config)
            url = root_url(settings.host, settings.port)
            key = key or local_secret(settings.state_dir)
            history = history_file(settings)
        code = converse(
            url,
            alias,
            system,
            key,
            words(prompt),
            by_line=lines,
            wishes=wishes_of(temperature, max_tokens),
            thoughts=not no_thoughts,
            history=history,
            ours=ours,
        )
    raise typer.Exit(code)


def words(prompt: list[str] | None) -> str | None:
    """Returns the words of an unquoted question."""
    return " ".join(prompt) if prompt else None


def wishes_of(temperature: float | None, max_tokens: int | None) -> dict[str, Any]:
    """Returns the request fields that were given."""
    given = {"temperature": temperature, "max_tokens": max_tokens}
    return {name: value for name, value in given.items() if value is not None}


def history_file(settings: Settings) -> Path:
    """The path of the user's earlier inputs."""
    return settings.state_dir / "chat_history"


@commands.command("run")
def run_(
    context: typer.Context,
    name: RunName = None,
    prompt: Annotated[list[str] | None, typer.Argument(metavar="PROMPT", help="Ask one question and exit.")] = None,
    draft: Annotated[
        str | None, typer.Option(metavar="NAME", help="Draft model, named in the same way.", autocompletion=model_names)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the gateway running afterwards.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Add the entry to tandem.yaml.")] = False,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    no_thoughts: NoThoughts = False,
    config: Config = None,
) -> None:
    """Download, load and chat with a model.

    Starts a gateway if none is running, and stops it at the end.
    """
    with settings_of(config) as settings:
        from app.cli.run_model import run

        wishes = wishes_of(temperature, max_tokens)
        code = run(
            settings,
            config,
            name,
            words(prompt),
            draft=draft,
            keep=keep,
            save=save,
            system=system,
            wishes=wishes,
            thoughts=not no_thoughts,
            history=history_file(settings),
            # A process that imports the gateway since before this one's imports, if `main` has started it
            prepared=context.obj,
        )
    raise typer.Exit(code)
