"""Every command of `llama-tandem`: its options, its work and its output on the terminal.

It may import every other room; nothing imports it. Commands import their modules when they run, so that `--help` is
quick. Begin with `program.py`, `options.py` (shared by commands), then `serving.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.cli.program import cli as cli
    from app.cli.program import main as main


def __getattr__(name: str) -> Any:
    """Imports the command line on its first use. It takes 40 ms and 2 MB, and a plain `serve` does without it."""
    if name not in ("cli", "main"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from app.cli import program

    return getattr(program, name)
