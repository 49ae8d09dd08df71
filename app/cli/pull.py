"""The work of `pull` on the command line."""

from __future__ import annotations

import glob
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.add_entry import NewEntry, add_entries, include_of, with_entries
from app.cli.hub_models import read_page
from app.cli.importer.yaml import as_yaml
from app.cli.options import confirmed
from app.cli.quantization_choice import chosen
from app.config.model_entry import LocalEntry
from app.config.settings import Settings, settings_file
from app.errors import OfflineError, StoreError
from app.models.catalog import Catalog
from app.models.download.events import DownloadEvent, Emit
from app.models.download.plan import DownloadPlan, Puller
from app.models.download.pull_item import PullItem, is_of_hub, items_by
from app.models.gguf.filenames import matching
from app.terminal import is_terminal, say, size_in_words

if TYPE_CHECKING:
    from app.models.hub.client import Hub


@dataclass(frozen=True, slots=True)
class PullResult:
    """The result of a pull. `entries` are for repos without an entry, `seconds` is its duration."""

    files: list[Path]
    entries: tuple[NewEntry, ...]
    seconds: float

    @property
    def size(self) -> int:
        """Returns the bytes of all files."""
        return sum(path.stat().st_size for path in self.files if path.exists())


def pull(
    settings: Settings,
    config: Path | None,
    names: list[str],
    emit: Emit,
    *,
    include: str | None = None,
    add: str | None = None,
    update: bool = False,
) -> PullResult:
    """Downloads all files of `names`, and adds an entry called `add`. Raises TandemError."""
    began = time.monotonic()
    items = items_by(settings, names, include)
    catalog = Catalog(settings)
    of_hub = [is_of_hub(catalog, name) for name in names]
    if add is not None and not (len(names) == 1 and all(of_hub)):
        raise StoreError("--add needs exactly one repo, such as ORG/REPO or hf:ORG/REPO.")
    if add is not None:
        # report it before 135 GB are downloaded
        with_entries(settings_file(config), {add: NewEntry(items[0].repo, include or "*").parts})
    from app.models.hub.client import Hub  # late: names alone need no huggingface_hub

    hub = Hub(say=lambda text: emit(DownloadEvent("note", "", text=text)))
    puller = Puller(settings, hub, emit)
    if not all(of_hub):
        return PullResult(puller.pull(items, update=update), (), time.monotonic() - began)
    plans = [puller.plan(_settled(settings, hub, item, emit), update=update) for item in items]
    beside = [PullItem(plan.item.repo, glob.escape(plan.projector), projector=True) for plan in plans if plan.projector]
    whole = [*plans, *(puller.plan(item, update=update) for item in dict.fromkeys(beside))]
    files = puller.fetch(whole, update=update)
    entries = []
    for plan in plans:
        for line in _related_files(plan):
            emit(DownloadEvent("note", plan.item.repo, text=line))
        entry = _entry_of(plan)
        if add is not None:
            add_entries(settings_file(config), {add: entry.parts})
            emit(DownloadEvent("note", plan.item.repo, text=f"{settings_file(config)}: '{add}' is added"))
        else:
            entries.append(entry)
    return PullResult(files, tuple(entries), time.monotonic() - began)


def _settled(settings: Settings, hub: Hub, item: PullItem, emit: Emit) -> PullItem:
    """Returns the item with a quantization, if the user names none and the repo has several."""
    if item.include is not None or item.quantization is not None:
        return item
    try:
        offers = read_page(settings, f"hf:{item.repo}", hub).offers
    except OfflineError:  # the plan looks up local files
        return item
    if len(offers) < 2:
        return item
    offer, line = chosen(item.repo, offers)
    emit(DownloadEvent("note", item.repo, text=line))
    quantization = offer.quantization
    if quantization.name == quantization.paths[0].removesuffix(".gguf"):  # not selected by name
        return replace(item, include=include_of(item, list(quantization.paths)))
    return replace(item, quantization=quantization.name)


def _entry_of(plan: DownloadPlan) -> NewEntry:
    pattern = include_of(plan.item, [identity.path for identity in plan.files])
    return NewEntry(plan.item.repo, pattern, plan.projector and glob.escape(plan.projector))


def _related_files(plan: DownloadPlan) -> list[str]:
    """Yields projectors, which the model needs for images and sound, and multi-token prediction heads."""
    lines = []
    if plan.projector is not None:
        lines.append(f"{plan.projector} is the model's projector for images and audio; the entry names it as mmproj")
    elif plan.projectors:
        names = ", ".join(plan.projectors)
        lines.append(f"one of these is its projector for images and audio: {names}; name it as mmproj")
    return lines + [
        f"{path} predicts several tokens at once: pull it with --include, then name it as draft, with "
        "speculation: draft-mtp"
        for path in plan.heads
    ]


# -- output at the end ------------------------------------------------------------------------------------------


def print_next_step(settings: Settings, config: Path | None, names: list[str], pulled: PullResult) -> None:
    """Prints on stderr what was downloaded and how to use it. On a terminal it offers to add the entry."""
    out = sys.stderr
    say(f"Complete: {size_in_words(pulled.size)} in {pulled.seconds:.0f} s.", out)
    if not pulled.entries:
        say(f"Next: llama-tandem run {names[0]}", out)
        return
    for entry in pulled.entries:
        if (alias := alias_of(settings, entry)) is not None:
            say(f"It is '{alias}' in {settings_file(config).name}. Next: llama-tandem run {alias}", out)
            continue
        alias, file = entry.repo.removesuffix("-GGUF"), settings_file(config)
        if is_terminal(sys.stdin) and is_terminal(out) and confirmed(f"Add it to {file.name} as '{alias}'? [Y/n] "):
            add_entries(file, {alias: entry.parts})
            say(f"Added to {file}.\nNext: llama-tandem run {alias}", out)
            continue
        say(f"Not in {file.name} yet: `llama-tandem pull {entry.repo} --add NAME` adds it; or paste:", out)
        say(as_yaml({alias: entry.parts}).rstrip("\n"), out)


def entry_note(entry: NewEntry) -> DownloadEvent:
    """Returns the entry to paste, for a program."""
    text = as_yaml({entry.repo.removesuffix("-GGUF"): entry.parts})
    return DownloadEvent("note", entry.repo, text=text.rstrip("\n"))


def alias_of(settings: Settings, entry: NewEntry) -> str | None:
    """Returns the alias whose target was pulled."""
    for alias, known in settings.models.items():
        files = known.target if isinstance(known, LocalEntry) else None
        if files is None or files.repo != entry.repo:
            continue
        example = entry.include.replace("-*", "-00001-of-00001.gguf") if entry.include.endswith("-*") else entry.include
        if matching([example], files.include, files.quantization):
            return alias
    return None
