"""Suggests the name that a similar, unknown name may mean. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

FILES = 0.75
# Minimum length of a part that identifies a name
_PART = 3
# A client waits for the answer, and others with it: a longer name, and more names, are not compared letter by letter
_LONGEST, _COMPARED = 200, 200


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Returns the most similar known name, ignoring case and dashes, or None.

    File names share their endings: for them `cutoff` is FILES.
    """
    by_form: dict[str, str] = {}
    for other in known:
        by_form.setdefault(_form(other), other)
    match = difflib.get_close_matches(_form(name), by_form, n=1, cutoff=cutoff)
    return by_form[match[0]] if match else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message about `name`, or an empty text without a similar name."""
    match = nearest(name, known)
    return f"; did you mean {match}?" if match is not None else ""


def nearest_model(name: str, known: Sequence[str]) -> str | None:
    """As `nearest`, for models: `glm-4.7` may mean `unsloth/GLM-4.7`, and `smol` may mean `SmolLM2-135M`."""
    if len(name) > _LONGEST:
        return None
    form = _form(_model(name))
    by_model: dict[str, str] = {}
    for other in known:
        by_model.setdefault(_form(_model(other)), other)
    if form in by_model:
        return by_model[form]
    alike = len(known) <= _COMPARED
    if alike and (whole := nearest(name, known)) is not None:
        return whole
    if parts := [other for model, other in by_model.items() if len(form) >= _PART and form in model]:
        return min(parts, key=len)
    match = difflib.get_close_matches(form, by_model, n=1) if alike else []
    return by_model[match[0]] if match else None


def _model(name: str) -> str:
    """Returns the name without the organization, which users often omit."""
    return name.rpartition("/")[2]


def _form(name: str) -> str:
    return name.lower().replace("_", "-")
