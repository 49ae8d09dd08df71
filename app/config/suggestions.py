"""What somebody may have meant by a name that is not known. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FILES = 0.75


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like it, case and dashes aside; None where none is.

    File names have much in common by their endings alone: for them `cutoff` is FILES.
    """
    by_form: dict[str, str] = {}
    for other in known:
        by_form.setdefault(_form(other), other)
    match = difflib.get_close_matches(_form(name), by_form, n=1, cutoff=cutoff)
    return by_form[match[0]] if match else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on `name`; empty where nothing is like it."""
    match = nearest(name, known)
    return f"; did you mean {match}?" if match is not None else ""


def _form(name: str) -> str:
    return name.lower().replace("_", "-")
