"""The work of a pull in a gateway, which runs in the pull's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from app.config.settings import Settings
from app.engine.architectures import doubts
from app.models.download.events import DownloadEvent, Emit
from app.models.download.pull_item import PullItem
from app.pulls.pull import Work


def pull_work(current: Callable[[], Settings]) -> Callable[[tuple[PullItem, ...], bool], Work]:
    """Makes the work of a pull, for `Pulls`. `current` returns the current settings."""

    def make(items: tuple[PullItem, ...], update: bool) -> Work:
        def work(emit: Emit, sleep: Callable[[float], None]) -> None:
            # Imported late and in the thread: huggingface_hub takes 200 ms to import
            from app.models.download.plan import Puller
            from app.models.hub.client import Hub

            settings = current()
            hub = Hub(say=lambda text: emit(DownloadEvent("note", "", text=text)), sleep=sleep)
            warn(settings, Puller(settings, hub, emit).pull(items, update=update), emit)

        return work

    return make


def warn(settings: Settings, files: Iterable[Path], emit: Emit) -> None:
    """Warns about pulled files that the current engine cannot load. They are kept for a newer engine."""
    for text in doubts(settings.llama_server, files):
        emit(DownloadEvent("note", "", text=f"warning: {text}"))
