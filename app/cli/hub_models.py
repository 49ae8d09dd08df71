"""`search` and `show`: models on the Hub, and whether they fit this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from app.cli.check import planned
from app.cli.launch_memory import PlannedStart
from app.cli.local_models import state_in_words
from app.config.model_entry import LocalEntry
from app.config.settings import Settings
from app.config.suggestions import nearest
from app.engine.fit import Fit, basis, fit, needed
from app.engine.memory import Machine, this_machine
from app.errors import StoreError, TandemError
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.disk.layout import room_below
from app.models.disk.local_model import LocalModel
from app.models.download.plan import MARGIN, elsewhere
from app.models.download.pull_item import is_of_hub
from app.models.gguf.filenames import HubName, parse_hub_name, projectors
from app.models.hub.client import FoundRepo, Hub
from app.models.hub.quantizations import Quantization, quantizations
from app.terminal import console, size_in_words, table

_LEFT = ("quantization", "fits in memory", "room on disk", "here")


def show_found(repos: Sequence[FoundRepo], text: str) -> None:
    """Prints a table of repos."""
    if not repos:
        console().print(f"No GGUF repository on the Hub matches {text!r}.", soft_wrap=True)
        return
    shown = table("repo", "downloads", "likes", "access", left=("repo", "access"))
    for repo in repos:
        shown.add_row(repo.repo, f"{repo.downloads:,}", f"{repo.likes:,}", "licence to accept" if repo.gated else "")
    console().print(shown)


@dataclass(frozen=True, slots=True)
class HubOffer:
    """A quantization on the Hub, judged for this machine. `model` is its local copy."""

    quantization: Quantization
    memory: Fit
    disk: bool
    model: LocalModel | None


@dataclass(frozen=True, slots=True)
class RepoPage:
    """The content of `show` for a repo. `free` is disk space in bytes, `projectors` path -> bytes."""

    repo: str
    revision: str
    offers: tuple[HubOffer, ...]
    projectors: dict[str, int]
    machine: Machine
    free: int


def read_page(settings: Settings, name: str, hub: Hub) -> RepoPage:
    """Returns the page for an alias, or a repo with or without `hf:`. Raises StoreError."""
    catalog = Catalog(settings)
    hub_name = _meant(catalog, name)
    listing = hub.listing(hub_name.repo)
    sizes = {path: file.size for path, file in listing.files.items()}
    offered = _named(hub_name, list(quantizations(sizes)))
    here = {
        model.parts[0].path: model
        for model in inventory(settings, catalog)
        if model.repo == hub_name.repo and model.parts and model.state != "missing"
    }
    folder = settings.models_dir / hub_name.repo
    machine, free = this_machine(settings.llama_server), room_below(settings.models_dir)
    offers = tuple(
        _offer(quantization, machine, free, here.get(folder / quantization.paths[0])) for quantization in offered
    )
    return RepoPage(hub_name.repo, listing.revision, offers, {p: sizes[p] for p in projectors(sizes)}, machine, free)


def _named(name: HubName, there: Sequence[Quantization]) -> Sequence[Quantization]:
    """Returns all quantizations, or the named one. Raises StoreError if it does not exist."""
    if name.quantization is None or not there:
        return there
    named = [quantization for quantization in there if quantization.name.lower() == name.quantization.lower()]
    if not named:
        names = [quantization.name for quantization in there]
        meant = nearest(name.quantization, names)
        hint = f"; did you mean {meant}?" if meant is not None else "."
        raise StoreError(f"{name.repo} has no {name.quantization}{hint} There are: {', '.join(names)}.")
    return named


def planned_starts(settings: Settings, repo: str) -> list[PlannedStart]:
    """Returns the memory of models in tandem.yaml with a target from `repo`, of those that could start now."""
    starts = []
    for ref in Catalog(settings).refs():
        if isinstance(ref.entry, LocalEntry) and ref.entry.target.repo == repo:
            with suppress(TandemError):  # `check` reports why
                starts.append(planned(settings, ref.alias))
    return starts


def _meant(catalog: Catalog, name: str) -> HubName:
    if is_of_hub(catalog, name) or name not in catalog.known:
        return parse_hub_name(name)
    entry = catalog.resolve(name).entry
    if not isinstance(entry, LocalEntry) or entry.target.repo is None:
        raise StoreError(f"'{name}' is an alias without a Hub repo; name a repo such as hf:ORG/REPO.")
    return HubName(entry.target.repo)


def _offer(quantization: Quantization, machine: Machine, free: int, model: LocalModel | None) -> HubOffer:
    to_come = quantization.size - (model.received if model is not None else 0)
    return HubOffer(quantization, fit(quantization.size, machine), to_come <= 0 or to_come + MARGIN <= free, model)


def show_page(page: RepoPage, models_dir: Path, starts: Sequence[PlannedStart]) -> None:
    """Prints a table of the quantizations, the basis of the judgement, and the memory of entries with this repo.

    Raises StoreError if the repo has no model.
    """
    if not page.offers:
        raise StoreError(f"{page.repo} has no GGUF model.{elsewhere(page.repo)}")
    out = console()
    out.print(f"{page.repo} at {page.revision[:12]}", style="bold", soft_wrap=True)
    out.print(_table(page.offers))
    for path, size in page.projectors.items():
        out.print(f"Multimodal projector: {path} ({size_in_words(size)})", soft_wrap=True)
    for line in basis(page.machine):
        out.print(line, soft_wrap=True)
    for start in starts:
        if start.memory is not None:
            out.print(f"{start.plan.alias}: {start.memory.needs()}; {start.memory.words()}", soft_wrap=True)
    out.print(
        f"Disk: {size_in_words(page.free)} free in {models_dir}, of which {size_in_words(MARGIN)} must stay free.",
        soft_wrap=True,
    )


def _table(offers: Sequence[HubOffer]) -> Table:
    shown = table("quantization", "size", "shards", "fits in memory", "room on disk", "here", left=_LEFT)
    for offer in offers:
        quantization = offer.quantization
        shards = str(len(quantization.paths)) if quantization.complete else f"{len(quantization.paths)} (not all)"
        here = state_in_words(offer.model) if offer.model is not None else ""
        memory = offer.memory if offer.memory == "no" else f"yes: {offer.memory}"
        shown.add_row(
            quantization.name, size_in_words(quantization.size), shards, memory, "yes" if offer.disk else "no", here
        )
    return shown


def page_fields(page: RepoPage, starts: Sequence[PlannedStart]) -> dict[str, Any]:
    """Returns the JSON form, with sizes in bytes. `devices` and a footprint are null without an engine's report."""
    machine = page.machine
    return {
        "repo": page.repo,
        "revision": page.revision,
        "quantizations": [
            {
                **asdict(offer.quantization),
                "memory_needed": needed(offer.quantization.size),
                "fits_memory": offer.memory,
                "fits_disk": offer.disk,
                "here": offer.model.state if offer.model is not None else None,
            }
            for offer in page.offers
        ],
        "projectors": [{"path": path, "size": size} for path, size in page.projectors.items()],
        "models": [{"alias": start.plan.alias, **start.memory_fields()} for start in starts],
        "machine": {
            "devices": None if machine.devices is None else [asdict(device) for device in machine.devices],
            "host": machine.host,
            "host_free": machine.host_free,
            "unified": machine.unified,
            "origin": machine.origin,
            "disk_free": page.free,
        },
    }
