"""Values of flags as numbers and switches."""

from __future__ import annotations

import math
import re

from app.cli.importer.flags import FALSE, TRUE
from app.cli.importer.parse import Argument
from app.errors import NotImportableError


def number(argument: Argument, *, whole: bool) -> int | float:
    """Raises NotImportableError; what llama.cpp reads, less the trailing letters that it overlooks."""
    if re.fullmatch(r"[+-]?\d{1,18}", argument.value, re.ASCII):
        return int(argument.value) if whole else float(argument.value)
    if not whole and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", argument.value, re.ASCII):
        value = float(argument.value)
        if math.isfinite(value):
            return value
    raise NotImportableError(f"{argument.shown}: must be a {'whole ' if whole else ''}number")


def switch(argument: Argument) -> bool:
    """Raises NotImportableError."""
    if argument.value not in TRUE | FALSE:
        raise NotImportableError(f"{argument.shown}: must be on or off")
    return argument.value in TRUE
