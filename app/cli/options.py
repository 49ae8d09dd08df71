"""What the commands share: options, and errors in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.records.database import Database

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The settings [default: $TANDEM_CONFIG, else ./tandem.yaml]."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="A model's name in tandem.yaml.")]


@contextmanager
def errors_in_words(code: int = 1) -> Iterator[None]:
    """No traceback reaches a user: what is wrong, on stderr, and an exit code."""
    from app.errors import TandemError

    try:
        yield
    except TandemError as error:
        for line in str(error).splitlines():
            # The text of a settings file stands indented below what is wrong with it
            print(line if line.startswith(" ") else f"llama-tandem: {line}", file=sys.stderr)
        raise typer.Exit(code) from None
    except BrokenPipeError:
        # `llama-tandem plan x | head -1`: nobody reads on, and the interpreter must not try to flush either
        sys.stdout = None
        raise typer.Exit(1) from None


def records(settings: Settings) -> Database:
    """What is wrong with them goes to stderr. To be closed by those who write."""
    from app.records.database import Database

    return Database(settings.state_dir, tell=lambda text: print(f"llama-tandem: {text}", file=sys.stderr))
