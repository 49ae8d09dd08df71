"""What the commands share: options, and errors in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

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
            print(f"llama-tandem: {line}", file=sys.stderr)
        raise typer.Exit(code) from None
    except BrokenPipeError:
        # `llama-tandem plan x | head -1`: nobody reads on, and the interpreter must not try to flush either
        sys.stdout = None
        raise typer.Exit(1) from None
