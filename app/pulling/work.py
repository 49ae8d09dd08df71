"""What a pull of the gateway does in its thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.config import Settings
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
            Puller(settings, hub, emit).pull(wanted, update=update)

        return work

    return make
