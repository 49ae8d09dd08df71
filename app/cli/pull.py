"""`pull`, as the command line has it."""

from __future__ import annotations

import glob
from pathlib import Path

from app.cli.add_entry import NewEntry, add_entry, entry_text, include_of, with_entry
from app.config.settings import Settings, settings_file
from app.errors import StoreError
from app.models.download.events import DownloadEvent, Emit
from app.models.download.plan import Plan, Puller
from app.models.download.pull_item import PullItem, items_by


def pull(
    settings: Settings,
    config: Path | None,
    names: list[str],
    emit: Emit,
    *,
    include: str | None = None,
    add: str | None = None,
    update: bool = False,
) -> list[Path]:
    """Fetches everything that `names` need, and tells the entry for a name of the Hub; raises TandemError."""
    items = items_by(settings, names, include)
    if add is not None and not (len(names) == 1 and names[0].startswith("hf:")):
        raise StoreError("--add goes with one hf:... name.")
    if add is not None:
        # nobody should hear of it after 135 GB
        with_entry(settings_file(config), add, NewEntry(items[0].repo, include or "*"))
    from app.models.hub.client import Hub  # late: names alone need no huggingface_hub

    hub = Hub(say=lambda text: emit(DownloadEvent("note", "", text=text)))
    puller = Puller(settings, hub, emit)
    if not all(name.startswith("hf:") for name in names):
        return puller.pull(items, update=update)
    plans = [puller.plan(item, update=update) for item in items]
    beside = [PullItem(plan.item.repo, glob.escape(plan.projector), projector=True) for plan in plans if plan.projector]
    whole = [*plans, *(puller.plan(item, update=update) for item in dict.fromkeys(beside))]
    files = puller.fetch(whole, update=update)
    for plan in plans:
        pattern = include_of(plan.item, [identity.path for identity in plan.files])
        entry = NewEntry(plan.item.repo, pattern, plan.projector and glob.escape(plan.projector))
        for line in (*_of_projectors(plan), _told(entry, settings_file(config), add)):
            emit(DownloadEvent("note", plan.item.repo, text=line))
    return files


def _of_projectors(plan: Plan) -> list[str]:
    """One line where the repo has a projector: without it the model refuses images and sound."""
    if plan.projector is not None:
        return [f"{plan.projector} is the model's projector, for images and sound: the entry's mmproj"]
    if plan.projectors:
        return [f"one of these is its projector, for images and sound: {', '.join(plan.projectors)}; name it as mmproj"]
    return []


def _told(entry: NewEntry, file: Path, add: str | None) -> str:
    """What a person is told of the entry, which is added to `file` where it is to be; raises StoreError."""
    if add is None:
        return f"models:\n{entry_text(entry.repo.removesuffix('-GGUF'), entry)}"
    add_entry(file, add, entry)
    return f"{file}: '{add}' is added"
