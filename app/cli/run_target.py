"""Resolves the name in `run NAME`: an alias, a repo of the Hub, a GGUF file, or any local model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.found_models import DEMO, DEMO_ENTRY, demo_is_installed, find_models
from app.cli.user_input import choose_name
from app.config.model_entry import LocalEntry
from app.config.settings import Settings
from app.config.types import as_name
from app.engine.memory import this_machine
from app.errors import FilesMissingError, StoreError, UnknownAliasError
from app.models.catalog import Catalog
from app.models.download.pull_item import is_of_hub
from app.models.gguf.filenames import is_gguf, model_of, parse_hub_name, shard_of, shards
from app.models.gguf.header import read_header
from app.models.ref import ModelRef
from app.terminal import is_terminal, say

if TYPE_CHECKING:
    from app.cli.add_entry import NewEntry
    from app.cli.pull import PullResult


@dataclass(frozen=True, slots=True)
class RunTarget:
    """A model to run. `entry` is the entry that the settings file lacks."""

    alias: str
    entry: dict[str, Any] | None = None


def resolve(settings: Settings, config: Path | None, name: str | None) -> RunTarget:
    """Returns the target with all its files on disk, except drafts of `auto`. Raises TandemError."""
    catalog = Catalog(settings)
    if name is None:
        return _whatever_there_is(settings, config, catalog)
    try:
        ref = catalog.resolve(name)
    except UnknownAliasError as unknown:
        if is_gguf(name) or Path(name).expanduser().is_file():
            return _file(name)
        if (target := _demo().get(name) or _found_here(settings).get(name)) is not None:
            return target
        if is_of_hub(catalog, name):
            return _repo(settings, config, name)
        raise StoreError(
            f"{str(unknown).rstrip('.')}; and {name!r} is no repo (ORG/REPO[:QUANTIZATION]) and no GGUF file."
        ) from None
    _fetch_what_is_missing(settings, config, catalog, ref)
    return RunTarget(ref.name)


def _fetch_what_is_missing(settings: Settings, config: Path | None, catalog: Catalog, ref: ModelRef) -> None:
    if not isinstance(ref.entry, LocalEntry):
        return
    try:
        catalog.spec(ref)
    except FilesMissingError as error:
        if not error.repo:
            raise FilesMissingError(f"{error} {error.advice}".strip()) from None
        _pulled(settings, config, ref.alias)


def _pulled(settings: Settings, config: Path | None, name: str) -> PullResult:
    from app.cli.progress import shown
    from app.cli.pull import pull  # the Hub's library takes half a second, and a local model does not need it

    with shown(False) as emit:
        return pull(settings, config, [name], emit)


def _repo(settings: Settings, config: Path | None, name: str) -> RunTarget:
    from app.cli.pull import alias_of

    pulled = _pulled(settings, config, name)
    (entry,) = pulled.entries
    if (alias := alias_of(settings, entry)) is not None:
        return RunTarget(alias)
    return RunTarget(_alias_for(entry, parse_hub_name(name).quantization), entry.parts)


def _alias_for(entry: NewEntry, quantization: str | None) -> str:
    name = entry.repo.removesuffix("-GGUF")
    return f"{name}:{quantization}" if quantization else name


def _file(name: str) -> RunTarget:
    path = Path(name).expanduser().absolute()
    if (shard := shard_of(path.name)) is not None and shard[0] != 1:
        path = shards(path)[0]
    if not path.is_file():
        raise StoreError(f"There is no file {path}.")
    read_header(path)  # an invalid file is reported here, by its name
    return RunTarget(as_name(model_of(path.name)), {"target": {"path": str(path)}})


def _whatever_there_is(settings: Settings, config: Path | None, catalog: Catalog) -> RunTarget:
    found = {name: RunTarget(name) for name in catalog.names} or _found_here(settings)
    if not found:
        raise StoreError("No model was found. Name one: llama-tandem run ORG/REPO; `search` finds repos.")
    if len(found) == 1:
        (target,) = found.values()
        say(f"Running {target.alias}.", sys.stderr)
    elif is_terminal(sys.stdin) and is_terminal(sys.stdout):
        target = found[choose_name("model", list(found))]
    else:
        raise StoreError(f"Name a model. Available: {', '.join(found)}.")
    return resolve(settings, config, target.alias) if target.entry is None else target


def _found_here(settings: Settings) -> dict[str, RunTarget]:
    """Returns local models without settings, as `init` would write them."""
    models = find_models(None, this_machine(settings.llama_server))
    return {model.name: RunTarget(model.name, model.entry) for model in models if model.memory != "no"} | _demo()


def _demo() -> dict[str, RunTarget]:
    """Returns the model of a Python package. It is tried before folders and devices are searched."""
    return {DEMO: RunTarget(DEMO, DEMO_ENTRY)} if demo_is_installed() else {}
