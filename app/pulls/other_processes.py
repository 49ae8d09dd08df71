"""Detects downloads of other processes, such as `llama-tandem pull` in a terminal, from their journals on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from app.config.model_entry import FILE_KEYS, LocalEntry
from app.models.disk.layout import HIDDEN
from app.models.download.pull_item import items_of
from app.models.gguf.filenames import ANY_GGUF
from app.models.ref import ModelRef
from app.pulls.progress import PullSnapshot

# Seconds for which a result is reused. A large journal takes a while to read, and clients poll often.
_GOOD_S = 1.0


class OtherPulls:
    """Looks up downloads by entry, whichever variant is requested."""

    def __init__(self, models_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._models_dir = models_dir
        self._clock = clock
        self._seen: dict[str, tuple[float, PullSnapshot | None]] = {}

    def progress(self, ref: ModelRef) -> PullSnapshot | None:
        """Returns the progress of a download for `ref` in another process, if any.

        It has no rate. Reads folders and journals.
        """
        alias, now = ref.alias, self._clock()
        at, seen = self._seen.get(alias, (-_GOOD_S, None))
        if now - at >= _GOOD_S:
            seen = self._look(ref)
            self._seen[alias] = now, seen
        return seen

    def _look(self, ref: ModelRef) -> PullSnapshot | None:
        entry = ref.entry
        parts = [getattr(entry, key) for key in FILE_KEYS] if isinstance(entry, LocalEntry) else []
        hidden = [self._models_dir / part.repo / HIDDEN for part in parts if part is not None and part.repo is not None]
        if not any(next(folder.rglob(f"{ANY_GGUF}.part"), None) for folder in hidden):
            return None
        from app.models.disk.inventory import being_pulled  # Imported late, since most gateways never see a pull

        items = dict.fromkeys(items_of(ref.alias, entry))
        pulled = [model for item in items for model in being_pulled(self._models_dir, item.repo, item.chosen)]
        if not pulled:
            return None
        sizes = [model.size for model in pulled if model.size is not None]
        size = sum(sizes) if len(sizes) == len(pulled) else None
        return PullSnapshot("waiting", sum(model.received for model in pulled), size)
