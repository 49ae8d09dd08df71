"""`pull`, as the command line has it."""

from __future__ import annotations

from pathlib import Path

from app.cli.add_entry import add_entry, entry_text, include_of, with_entry
from app.config.settings import Settings, settings_file
from app.errors import StoreError
from app.models.download.events import DownloadEvent, Emit
from app.models.download.plan import Puller
from app.models.download.pull_item import items_by


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
        with_entry(settings_file(config), add, items[0], include or "*")  # nobody should hear of it after 135 GB
    from app.models.hub.client import Hub  # late: names alone need no huggingface_hub

    hub = Hub(say=lambda text: emit(DownloadEvent("note", "", text=text)))
    puller = Puller(settings, hub, emit)
    files = puller.pull(items, update=update)
    if not all(name.startswith("hf:") for name in names):
        return files
    for item in items:
        folder = settings.models_dir / item.repo
        paths = [path.relative_to(folder).as_posix() for path in files if path.is_relative_to(folder)]
        pattern = include_of(item, paths)
        if add is not None:
            file = settings_file(config)
            add_entry(file, add, item, pattern)
            emit(DownloadEvent("note", item.repo, text=f"{file}: '{add}' is added"))
        else:
            alias = item.repo.removesuffix("-GGUF")
            emit(DownloadEvent("note", item.repo, text=f"models:\n{entry_text(alias, item, pattern)}"))
    return files
