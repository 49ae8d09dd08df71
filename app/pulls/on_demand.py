"""Pulls missing files for entries with `pull: on_demand`.

A failed pull is not repeated by each request. The first request after a wait repeats it; the wait begins at 10 s and
doubles up to ten minutes. Only the result of the last pull counts, so a client that leaves changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.config.model_entry import LocalEntry
from app.errors import DownloadingError, FilesMissingError, PullFailedError, ShuttingDownError, StoreError
from app.models.catalog import Catalog
from app.models.download.pull_item import PullItem, items_of
from app.models.ref import ModelRef
from app.pulls.pull import Pull, PullState
from app.pulls.registry import Pulls

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 10.0, 600.0
# Retry-After in seconds while the duration of a pull is unknown
_ASK_AGAIN_S = 5.0


@dataclass(slots=True)
class _Try:
    """The last pull for an alias. `failed` counts the failures before it, since the last success."""

    pull: Pull
    failed: int


class OnDemand:
    """Runs one pull per entry, whichever variant is requested. `clock` is that of `Pull`'s times."""

    def __init__(self, catalog: Catalog, pulls: Pulls, clock: Callable[[], float] = time.time) -> None:
        self._catalog = catalog
        self._pulls = pulls
        self._clock = clock
        self._tries: dict[str, _Try] = {}

    def forget(self, alias: str) -> None:
        """Forgets the results for a changed entry."""
        self._tries.pop(alias, None)

    def missing(self, ref: ModelRef) -> str | None:
        """Describes the missing files that a request for `ref` must pull first. Returns "" if none. Reads folders."""
        if isinstance(ref.entry, LocalEntry) and ref.entry.pull == "on_demand":
            try:
                self._catalog.files(ref)
            except FilesMissingError as error:
                return str(error)
        return None

    async def ensure(self, ref: ModelRef, *, patient: bool) -> None:
        """Returns when the files of `ref` are here. Returns at once if the entry has no `pull: on_demand`.

        Without `patient` it does not wait for a pull. Raises DownloadingError, PullFailedError or ShuttingDownError.
        """
        missing = await asyncio.to_thread(self.missing, ref)
        if missing is None:
            return
        alias = ref.alias
        pull = self._begin(ref, missing)
        if not patient:
            snapshot = pull.progress
            raise DownloadingError(alias, snapshot.words(alias), snapshot.fields(), retry_after=self._eta(pull))
        await pull.over()
        if self._pulls.closing:
            raise ShuttingDownError("The gateway is shutting down.", retry_after=5)
        if pull.state is not PullState.DONE:
            raise PullFailedError(alias, pull.reason, retry_after=self._wait(alias))

    def _begin(self, ref: ModelRef, missing: str) -> Pull:
        """Returns the running pull, or a new one. Raises PullFailedError during the wait, or ShuttingDownError."""
        alias, items = ref.alias, _items(ref)
        if (running := self._pulls.running(items)) is not None:
            return running
        failed, last = 0, self._tries.get(alias)
        if last is not None:
            if (wait := self._wait(alias)) > 0:
                # A pull that succeeded without bringing these files counts as failed
                raise PullFailedError(alias, last.pull.reason or missing, retry_after=wait)
            failed = 0 if last.pull.state is PullState.DONE else last.failed + 1
        pull = self._pulls.start(alias, items)
        self._tries[alias] = _Try(pull, failed)
        return pull

    def _wait(self, alias: str) -> float:
        """Returns the seconds until the next pull may start."""
        last = self._tries.get(alias)
        if last is None or last.pull.ended is None:
            return FIRST_BACKOFF_S  # Another pull has failed
        backoff = min(FIRST_BACKOFF_S * 2.0**last.failed, LONGEST_BACKOFF_S)
        return max(0.0, last.pull.ended + backoff - self._clock())

    def _eta(self, pull: Pull) -> float:
        left = pull.progress.seconds_left
        return _ASK_AGAIN_S if left is None else max(1.0, left)

    def pull_of(self, ref: ModelRef) -> Pull | None:
        """Returns the running pull for `ref`, if any."""
        if not self._pulls.busy:
            return None
        try:
            return self._pulls.running(_items(ref))
        except StoreError:  # The entry has no files from the Hub
            return None

    def waiting_for(self, ref: ModelRef) -> str:
        """Describes the download that a request for `ref` waits for."""
        pull = self.pull_of(ref)
        return "waiting for the engine" if pull is None else pull.progress.words(pull.name)

    def failure(self, ref: ModelRef) -> str | None:
        """Returns the reason why the last pull for a request failed, if files are still missing."""
        last = self._tries.get(ref.alias)
        if last is None or last.pull.state is not PullState.FAILED or self.missing(ref) is None:
            return None
        return last.pull.reason


def _items(ref: ModelRef) -> tuple[PullItem, ...]:
    """Returns the entry's items. Raises StoreError if none is on the Hub."""
    return tuple(dict.fromkeys(items_of(ref.alias, ref.entry)))
