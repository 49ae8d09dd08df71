"""`ls`, `rm` and `verify`: the models on disk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.cli.options import records
from app.cli.running_gateway import loaded_models
from app.config.settings import Settings
from app.errors import UnknownAliasError
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.disk.layout import room_below
from app.models.disk.local_model import LocalModel
from app.models.disk.remove import RemovedModel, removable
from app.models.disk.selection import selected
from app.models.disk.verify import FileVerdict, Verifier
from app.models.download.events import DownloadEvent, Emit
from app.records.ledger import Ledger
from app.terminal import console, size_in_words, table

if TYPE_CHECKING:
    from app.models.hub.client import Hub

_COLUMNS = ("alias", "repo", "quantization", "size", "state", "last used")
_LEFT = tuple(column for column in _COLUMNS if column != "size")


def state_in_words(model: LocalModel) -> str:
    """Returns `complete`, `43 %` or similar. Counts shards if no journal knows the size of the rest."""
    if model.state == "missing":
        return "missing"
    if model.state == "complete":
        return "complete, by link" if any(part.linked for part in model.parts) else "complete"
    if model.size:
        # Rounded down: a file that lacks a byte is not at 100 %
        so_far = f"{100 * model.received // model.size} %"
    else:
        so_far = f"{sum(part.whole for part in model.parts)} of {len(model.parts)} shards"
    return f"pulling, {so_far}" if model.state == "pulling" else so_far


class LocalModels:
    """The models on disk, read once. Every method raises TandemError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = Catalog(settings)
        self.models = inventory(settings, self._catalog)

    def last_uses(self) -> dict[str, float]:
        """Alias -> seconds since the epoch, from the ledger. An alias that was never used is missing."""
        latest: dict[str, float] = {}
        for name, at in Ledger(records(self._settings)).last_uses().items():
            with suppress(UnknownAliasError):  # it has since left the catalog
                alias = self._catalog.resolve(name).alias
                latest[alias] = max(at, latest.get(alias, 0.0))
        return latest

    def removable(self, names: Sequence[str], *, shared: bool) -> list[LocalModel]:
        """Returns the models that `rm` would delete. None of them is in use."""
        return removable(selected(self.models, self._catalog, names), self._catalog, names, shared=shared)

    def verify(self, names: Sequence[str], emit: Emit, *, repair: bool) -> list[FileVerdict]:
        """Checks every file of these names, or all files."""
        models = selected(self.models, self._catalog, names) if names else self.models

        def hub() -> Hub:
            from app.models.hub.client import Hub  # half a second, and rarely needed

            return Hub(say=lambda text: emit(DownloadEvent("note", "", text=text)))

        return Verifier(hub, emit, repair=repair).verify(models)

    # -- output ------------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Prints a table and its total."""
        out = console()
        if not self.models:
            out.print(f"Nothing is in {self._settings.models_dir} yet. `llama-tandem pull` downloads models.")
            return
        shown, uses = table(*_COLUMNS, left=_LEFT), self.last_uses()
        loaded = loaded_models(self._settings)
        for model in self.models:
            shown.add_row(*_row(model, _last(model, uses), _states(model, loaded)))
        out.print(shown)
        here, free = sum(model.received for model in self.models), room_below(self._settings.models_dir)
        out.print(
            f"{size_in_words(here)} here, {size_in_words(free)} free in {self._settings.models_dir}", soft_wrap=True
        )

    def fields(self) -> list[dict[str, Any]]:
        """Returns the JSON form: sizes in bytes, times in seconds since the epoch.

        `size` is null if unknown. `engine` is the state of the engine that has the model loaded, or null.
        """
        uses, loaded = self.last_uses(), loaded_models(self._settings)
        return [
            kept_fields(model) | {"last_used": _last(model, uses), "engine": next(iter(_states(model, loaded)), None)}
            for model in self.models
        ]


def kept_fields(model: LocalModel) -> dict[str, Any]:
    """Returns the JSON form of one model."""
    return {
        "repo": model.repo,
        "name": model.name,
        "quantization": model.quantization or None,
        "uses": [{"alias": use.alias, "key": use.key} for use in model.uses],
        "state": model.state,
        "size": model.size,
        "received": model.received,
        "linked": any(part.linked for part in model.parts),
        "files": [str(part.path) for part in model.parts],
    }


def _last(model: LocalModel, uses: Mapping[str, float]) -> float | None:
    return max((uses[use.alias] for use in model.uses if use.alias in uses), default=None)


def _states(model: LocalModel, loaded: Mapping[str, str]) -> list[str]:
    """Returns the states of engines that have it loaded: `ready`, `starting`."""
    return list(dict.fromkeys(loaded[use.alias] for use in model.uses if use.alias in loaded))


def _row(model: LocalModel, used: float | None, states: Sequence[str]) -> tuple[str, ...]:
    size = model.size or model.received
    return (
        ", ".join(map(str, model.uses)) or "-",
        model.repo or "-",
        model.label,
        size_in_words(size) if size else "-",
        ", ".join([state_in_words(model), *("loaded" if state == "ready" else state for state in states)]),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(used)) if used is not None else "-",
    )


def question(doomed: Sequence[LocalModel]) -> list[str]:
    """Yields the facts before a deletion, a line per model."""
    lines = []
    for model in doomed:
        needed = f", needed by {', '.join(map(str, model.uses))}" if model.uses else ""
        link = " (a link; only the link is deleted)" if any(part.linked for part in model.parts) else ""
        lines.append(f"{model.title}: {size_in_words(model.received)}{link}{needed}")
    return lines


def removed_in_words(removed: RemovedModel) -> str:
    """Returns the line after a deletion, for stdout."""
    if removed.linked:
        return f"{removed.model.title}: the link was deleted; its target stays: {', '.join(map(str, removed.linked))}"
    return f"{removed.model.title}: deleted, {size_in_words(removed.freed)} freed"


def verdicts_in_words(checked: Sequence[FileVerdict]) -> str:
    """Returns `3 files: 2 fine, 1 repaired` or similar."""
    counts = Counter(file.verdict for file in checked)
    files = "1 file" if len(checked) == 1 else f"{len(checked)} files"
    return f"{files}: {', '.join(f'{count} {verdict}' for verdict, count in counts.items()) or 'nothing to verify'}"
