"""Values of flags as numbers and switches."""

from __future__ import annotations

import math
import re

from app.cli.importer.flags import FALSE, TRUE
from app.cli.importer.parse import Given
from app.errors import NotImportableError


def number(given: Given, *, whole: bool) -> int | float:
    """Raises NotImportableError; what llama.cpp reads, less the trailing letters that it overlooks."""
    if re.fullmatch(r"[+-]?\d{1,18}", given.value, re.ASCII):
        return int(given.value) if whole else float(given.value)
    if not whole and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", given.value, re.ASCII):
        value = float(given.value)
        if math.isfinite(value):
            return value
    raise NotImportableError(f"{given.shown}: must be a {'whole ' if whole else ''}number")


def switch(given: Given) -> bool:
    """Raises NotImportableError."""
    if given.value not in TRUE | FALSE:
        raise NotImportableError(f"{given.shown}: must be on or off")
    return given.value in TRUE
