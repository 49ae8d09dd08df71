"""The kinds of values in `tandem.yaml`: what is no number, text or name there, in words."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


def _no_bool(value: Any) -> Any:
    # YAML reads a bare `on` as true, and pydantic would read true as 1.
    if isinstance(value, bool):
        raise ValueError("must be a number, not on/off")
    return value


def _argument(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError('YAML reads this as on/off; put it in quotes: "on"')
    return str(value) if isinstance(value, int | float) else value


def _printable(value: str) -> str:
    if not value or not value.isprintable() or value != value.strip():
        raise ValueError("must not be empty, nor hold control characters or spaces at an end")
    return value


def check_name(name: str) -> str:
    """A name that clients send: printable, and without a comma, at which llama-server splits `--alias`."""
    if not name or not name.isprintable() or any(c.isspace() for c in name):
        raise ValueError("a model's name must be printable characters without spaces")
    if name.startswith("-"):
        raise ValueError("a model's name must not begin with a dash, which would make it a flag")
    if "," in name:
        raise ValueError("a model's name must not hold a comma")
    return name


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Text = Annotated[str, AfterValidator(_printable)]
Argument = Annotated[str, BeforeValidator(_argument)]
Name = Annotated[str, AfterValidator(check_name)]
