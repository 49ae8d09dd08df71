"""What a pull of the gateway does in its thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from app.config import Settings
from app.engine.architectures import doubts
from app.pulling.pull import Work
from app.store.progress import Emit, Event

if TYPE_CHECKING:
    from app.store.pull import Wanted


def pull_work(settings: Settings) -> Callable[[tuple[Wanted, ...], bool], Work]:
    """Makes the work of a pull, for `Pulls`."""

    def make(wanted: tuple[Wanted, ...], update: bool) -> Work:
        def work(emit: Emit, sleep: Callable[[float], None]) -> None:
            # Late, and here rather than on the event loop: huggingface_hub takes 200 ms to import
            from app.store.hub import Hub
            from app.store.pull import Puller

            hub = Hub(say=lambda text: emit(Event("note", "", text=text)), sleep=sleep)
            warn(settings, Puller(settings, hub, emit).pull(wanted, update=update), emit)

        return work

    return make


def warn(settings: Settings, files: Iterable[Path], emit: Emit) -> None:
    """Tells of what was pulled and yet cannot be loaded by the engine at hand; it is kept, a newer one may."""
    for text in doubts(settings.llama_server, files):
        emit(Event("note", "", text=f"warning: {text}"))
