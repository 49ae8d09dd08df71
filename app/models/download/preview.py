"""Shows the files that a pull would download, without downloading any."""

from __future__ import annotations

from collections.abc import Iterable

from app.config.settings import Settings
from app.models.download.plan import DownloadPlan, Puller
from app.models.download.pull_item import PullItem
from app.models.hub.client import Hub
from app.terminal import size_in_words


def preview(settings: Settings, items: Iterable[PullItem]) -> list[str]:
    """Returns one line per model. Raises StoreError or a subclass, as a pull would before its start."""
    puller = Puller(settings, Hub(), lambda _: None)
    plans = [puller.plan(item) for item in items]
    puller.check_disk(plans)
    return [_line(plan, sum(map(puller.here, plan.files))) for plan in plans]


def _line(plan: DownloadPlan, here: int) -> str:
    count, size = len(plan.files), sum(identity.size for identity in plan.files)
    files = f"{count} files" if count > 1 else plan.files[0].path
    some = f", {size_in_words(here)} of it here" if here else ""
    return f"{plan.item.repo}: {files}, {size_in_words(size)}{some} (revision {plan.revision[:12]})"
