"""Commands that talk to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.completion import aliases, model_names
from app.cli.options import Config, errors_in_words

if TYPE_CHECKING:
    from app.config.settings import Settings

commands = typer.Typer()
OptionalAlias = Annotated[
    str | None,
    typer.Argument(metavar="[ALIAS]", help="A model's name [default: the only one].", autocompletion=aliases),
]
_NAME = "An alias, ORG/REPO[:QUANTIZATION], or a .gguf file."
RunName = Annotated[str | None, typer.Argument(metavar="[NAME]", help=_NAME, autocompletion=model_names)]
System = Annotated[str | None, typer.Option(help="A system message.")]
Temperature = Annotated[float | None, typer.Option(min=0, help="How freely tokens are drawn.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="How long an answer may be.")]
NoThoughts = Annotated[bool, typer.Option("--no-thoughts", help="Do not show what a model thinks.")]


@commands.command()
def chat(
    alias: OptionalAlias = None,
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]", help="One question: print the answer and leave.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="The gateway's root [default: from the settings].")] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds an API key [default: this machine's own].")
    ] = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    no_thoughts: NoThoughts = False,
    lines: Annotated[bool, typer.Option("--lines", help="Send each line of stdin as a message.")] = False,
    config: Config = None,
) -> None:
    """Chat with a model through a running gateway.

    Without a terminal all of stdin is one message; the answer alone is printed, and the exit code tells the outcome.
    """
    with errors_in_words():
        from app.auth.local_admin_key import local_secret
        from app.cli.chat import chat as converse
        from app.cli.chat import read_key
        from app.config.settings import load_settings, root_url

        # The key of this machine goes to no address that somebody merely names.
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
    """The words of a question that need no quotes."""
    return " ".join(prompt) if prompt else None


def wishes_of(temperature: float | None, max_tokens: int | None) -> dict[str, Any]:
    """Fields of a request, those that were given."""
    given = {"temperature": temperature, "max_tokens": max_tokens}
    return {name: value for name, value in given.items() if value is not None}


def history_file(settings: Settings) -> Path:
    """What was typed in chats before."""
    return settings.state_dir / "chat_history"


@commands.command("run")
def run_(
    name: RunName = None,
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]", help="One question: print the answer and leave.")
    ] = None,
    draft: Annotated[str | None, typer.Option(metavar="NAME", help="A draft model, named as NAME is.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the gateway running.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Write the entry into the settings file.")] = False,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    no_thoughts: NoThoughts = False,
    config: Config = None,
) -> None:
    """Fetch, load and chat with a model, in one go.

    It starts a gateway where none answers, which ends with it.
    """
    with errors_in_words():
        from app.cli.run_model import run
        from app.config.settings import load_settings

        settings = load_settings(config)
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
        )
    raise typer.Exit(code)
