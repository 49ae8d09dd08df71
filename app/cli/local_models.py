"""`ls`, `rm` and `verify`: the models that are kept here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.config.settings import Settings
from app.errors import UnknownAliasError
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.disk.layout import room_below
from app.models.disk.local_model import LocalModel
from app.models.disk.remove import Removed, removable
from app.models.disk.selection import selected
from app.models.disk.verify import Checked, Verifier
from app.models.download.events import DownloadEvent, Emit
from app.records.ledger import Ledger
from app.terminal import console, size_in_words, table

if TYPE_CHECKING:
    from app.models.hub.client import Hub

_COLUMNS = ("alias", "repo", "quantization", "size", "state", "last used")
_LEFT = tuple(column for column in _COLUMNS if column != "size")


def state_in_words(kept: LocalModel) -> str:
    """Such as `complete` or `43 %`; where no journal tells the size of the rest, shards are counted."""
    if kept.state == "missing":
        return "not here"
    if kept.state == "complete":
        return "complete, by link" if any(part.linked for part in kept.parts) else "complete"
    if kept.size:
        # Rounded down: what lacks a byte is not 100 %
        so_far = f"{100 * kept.received // kept.size} %"
    else:
        so_far = f"{sum(part.whole for part in kept.parts)} of {len(kept.parts)} shards"
    return f"pulling, {so_far}" if kept.state == "pulling" else so_far


class LocalModels:
    """The models on disk, read once; every method raises TandemError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = Catalog(settings)
        self.kept = inventory(settings, self._catalog)

    def last_uses(self) -> dict[str, float]:
        """Alias -> seconds since the epoch, by the ledger; an alias that was never used is not in it."""
        found: dict[str, float] = {}
        for name, at in Ledger(self._settings.state_dir).last_uses().items():
            with suppress(UnknownAliasError):  # it has left the catalog since
                alias = self._catalog.base(name)
                found[alias] = max(at, found.get(alias, 0.0))
        return found

    def removable(self, names: Sequence[str], *, shared: bool) -> list[LocalModel]:
        """What `rm` of these names deletes, all of it free to go."""
        return removable(selected(self.kept, self._catalog, names), self._catalog, names, shared=shared)

    def verify(self, names: Sequence[str], emit: Emit, *, repair: bool) -> list[Checked]:
        """Every file of these names, or of everything that is here."""
        found = selected(self.kept, self._catalog, names) if names else self.kept

        def hub() -> Hub:
            from app.models.hub.client import Hub  # half a second, and seldom needed

            return Hub(say=lambda text: emit(DownloadEvent("note", "", text=text)))

        return Verifier(hub, emit, repair=repair).verify(found)

    # -- told --------------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Prints a table and the sum of it."""
        out = console()
        if not self.kept:
            out.print(f"Nothing is in {self._settings.models_dir} yet; `llama-tandem pull` fetches models.")
            return
        shown, uses = table(*_COLUMNS, left=_LEFT), self.last_uses()
        for kept in self.kept:
            shown.add_row(*_row(kept, _last(kept, uses)))
        out.print(shown)
        here, free = sum(kept.received for kept in self.kept), room_below(self._settings.models_dir)
        out.print(
            f"{size_in_words(here)} here, {size_in_words(free)} free in {self._settings.models_dir}", soft_wrap=True
        )

    def fields(self) -> list[dict[str, Any]]:
        """For JSON: sizes in bytes, `size` null where nobody knows it, times in seconds since the epoch."""
        uses = self.last_uses()
        return [kept_fields(kept) | {"last_used": _last(kept, uses)} for kept in self.kept]


def kept_fields(kept: LocalModel) -> dict[str, Any]:
    """One model as JSON has it."""
    return {
        "repo": kept.repo,
        "name": kept.name,
        "quantization": kept.quantization or None,
        "uses": [{"alias": use.alias, "key": use.key} for use in kept.uses],
        "state": kept.state,
        "size": kept.size,
        "received": kept.received,
        "linked": any(part.linked for part in kept.parts),
        "files": [str(part.path) for part in kept.parts],
    }


def _last(kept: LocalModel, uses: Mapping[str, float]) -> float | None:
    return max((uses[use.alias] for use in kept.uses if use.alias in uses), default=None)


def _row(kept: LocalModel, used: float | None) -> tuple[str, ...]:
    size = kept.size or kept.received
    return (
        ", ".join(map(str, kept.uses)) or "-",
        kept.repo or "-",
        kept.label,
        size_in_words(size) if size else "-",
        state_in_words(kept),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(used)) if used is not None else "-",
    )


def question(doomed: Sequence[LocalModel]) -> list[str]:
    """What is to be known before it is deleted, a line a model."""
    lines = []
    for kept in doomed:
        needed = f", needed by {', '.join(map(str, kept.uses))}" if kept.uses else ""
        link = " by link: only the link goes" if any(part.linked for part in kept.parts) else ""
        lines.append(f"{kept.title}: {size_in_words(kept.received)}{link}{needed}")
    return lines


def removed_in_words(removed: Removed) -> str:
    """For stdout, once it is gone."""
    if removed.linked:
        return f"{removed.kept.title}: removed here; what it was linked to stays: {', '.join(map(str, removed.linked))}"
    return f"{removed.kept.title}: deleted, {size_in_words(removed.freed)} freed"


def verdicts_in_words(checked: Sequence[Checked]) -> str:
    """Such as `3 files: 2 fine, 1 repaired`."""
    counts = Counter(one.verdict for one in checked)
    files = "1 file" if len(checked) == 1 else f"{len(checked)} files"
    return f"{files}: {', '.join(f'{count} {verdict}' for verdict, count in counts.items()) or 'nothing to verify'}"
