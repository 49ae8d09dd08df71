"""Parts shared by commands: options, error messages and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion
from app.cli.error_lines import print_error

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.records.database import Database

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Configuration file [default: $TANDEM_CONFIG, else ./tandem.yaml]."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Alias = Annotated[
    str, typer.Argument(metavar="ALIAS", help="Name of a model in tandem.yaml.", autocompletion=completion.aliases)
]


def one_alias(summary: str) -> Any:
    """Returns an optional argument: the only model that a command is about."""
    return typer.Argument(metavar="ALIAS", help=summary, autocompletion=completion.aliases)


@contextmanager
def errors_in_words(code: int = 1) -> Iterator[None]:
    """Prints a TandemError on stderr and exits, so that no traceback reaches the user."""
    from app.errors import TandemError

    try:
        yield
    except TandemError as error:
        print_error(error)
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # `llama-tandem plan x | head -1`: the reader has gone, and the interpreter must not flush
        sys.stdout = None
        raise typer.Exit(1) from None


@contextmanager
def settings_of(config: Path | None) -> Iterator[Settings]:
    """Yields the settings, and treats errors as `errors_in_words` does."""
    with errors_in_words():
        from app.config.settings import load_settings

        yield load_settings(config)


def coloured(line: str) -> str:
    """Colours a line of a report for stdout, by its first words."""
    from app.terminal import Style, paint, visible, wrapped

    first: dict[str, Style] = {"ok": "green", "CANNOT": "red", "NO": "yellow", "warning:": "yellow"}
    word = line.split(maxsplit=1)[0] if line.strip() else ""
    shown = wrapped(visible(line))
    if not line.startswith(" "):
        return paint(shown, "bold")
    return paint(shown, first[word]) if word in first else shown


def print_note(text: str) -> None:
    """Prints a line on stderr."""
    from app.terminal import say

    say(text, sys.stderr)


def print_json(value: Any) -> None:
    """Prints a value for programs."""
    import json

    print(json.dumps(value, indent=2))


def confirmed(question: str) -> bool:
    """Asks on stderr. Enter means yes, Ctrl-C means no."""
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip().lower() in ("", "y", "yes")
    except KeyboardInterrupt:
        print_note("")
        return False


def records(settings: Settings) -> Database:
    """Opens the database. Problems with it go to stderr. A caller that writes must close it."""
    from app.records.database import Database

    return Database(settings.state_dir, report=lambda text: print_note(f"llama-tandem: {text}"))
