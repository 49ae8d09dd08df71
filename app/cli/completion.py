"""Shell completion: names of models, quantizations and keys. It uses no network and reports no errors."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from app.config.settings import Settings


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Returns names in the settings, and local repos with their quantizations after a colon."""
    settings = _settings(ctx)
    if settings is None:
        return []
    from app.models.catalog import Catalog

    catalog = Catalog(settings)
    names = list(catalog.known)
    if ":" in incomplete or "/" in incomplete or not names:
        names += _on_disk(settings)
    return _beginning(names, incomplete)


def aliases(ctx: typer.Context, incomplete: str) -> list[str]:
    """Returns every name that a client may send."""
    settings = _settings(ctx)
    if settings is None:
        return []
    from app.models.catalog import Catalog

    return _beginning(Catalog(settings).known, incomplete)


def key_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Returns the names of keys that are not revoked."""
    settings = _settings(ctx)
    if settings is None:
        return []
    from app.auth.key_store import KeyStore
    from app.errors import TandemError
    from app.records.database import Database

    try:
        keys = KeyStore(Database(settings.state_dir, report=lambda _: None)).all()
    except TandemError:
        return []
    return _beginning([key.name for key in keys if key.revoked is None], incomplete)


_VARIABLE = "_LLAMA_TANDEM_COMPLETE"


@contextmanager
def completed_at_colons() -> Iterator[None]:
    """Adapts the completion to bash, which splits words at colons, as in names of models.

    It joins the split words, and returns to bash the part of each proposal after the colon.
    """
    words = os.environ.get("COMP_WORDS", "").split("\n")
    at = os.environ.get("COMP_CWORD", "")
    bash_split_a_name = os.environ.get(_VARIABLE) == "complete_bash" and ":" in words and at.isdecimal()
    if not bash_split_a_name:
        yield
        return
    joined, new = joined_at_colons(words, int(at))
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(joined), str(new)
    current = joined[new] if new < len(joined) else ""
    known = current[: current.rfind(":") + 1] if current != words[int(at)] else ""
    proposals = io.StringIO()
    try:
        with redirect_stdout(proposals):
            yield
    finally:
        print("\n".join(line.removeprefix(known) for line in proposals.getvalue().splitlines()))


def joined_at_colons(words: Sequence[str], at: int) -> tuple[list[str], int]:
    """Joins words around a lone colon. Returns them, and the new place of the word at `at`. Pure."""
    joined: list[str] = []
    new = at
    for index, word in enumerate(words):
        if joined and (word == ":" or words[index - 1] == ":"):
            joined[-1] += word
        else:
            joined.append(word)
        if index == at:
            new = len(joined) - 1
    return joined, new


def _on_disk(settings: Settings) -> list[str]:
    from app.errors import TandemError
    from app.models.catalog import Catalog
    from app.models.disk.inventory import inventory

    try:
        models = inventory(settings, Catalog(settings))
    except TandemError:
        return []
    return [f"{model.repo}:{model.quantization}" for model in models if model.repo and model.quantization]


def _settings(ctx: typer.Context) -> Settings | None:
    """Returns the settings, or None if they cannot be read: a completion shows no errors."""
    from app.config.settings import load_settings
    from app.errors import TandemError

    config = ctx.params.get("config")
    try:
        return load_settings(Path(config) if config else None)
    except TandemError:
        return None


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
