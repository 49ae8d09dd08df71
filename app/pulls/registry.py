"""All pulls of a gateway: each thing at most once at a time, and the last ones remembered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from app.errors import ShuttingDownError, UnknownPullError
from app.models.download.pull_item import PullItem
from app.pulls.pull import Pull, Work

# Of pulls that have ended
REMEMBERED = 50
# How long those that run may take to stop; one that waits for the Hub may be cut off, harmlessly.
_STOP_S = 5.0


class Pulls:
    """`work` makes what a pull does out of what is wanted, and whether a newer version is to replace what is here."""

    def __init__(self, work: Callable[[tuple[PullItem, ...], bool], Work]) -> None:
        self._work = work
        self._running: dict[tuple[PullItem, ...], Pull] = {}
        self._ended: deque[Pull] = deque(maxlen=REMEMBERED)
        self.closing = False

    def start(self, name: str, items: tuple[PullItem, ...], *, update: bool = False) -> Pull:
        """A new pull, or the one of the same files that runs already; raises ShuttingDownError."""
        if self.closing:
            raise ShuttingDownError("The gateway is shutting down.", retry_after=5)
        if (running := self._running.get(items)) is not None:
            return running

        def ended(pull: Pull) -> None:
            del self._running[items]
            self._ended.append(pull)

        pull = self._running[items] = Pull(name, self._work(items, update), ended)
        return pull

    @property
    def busy(self) -> bool:
        """Whether any pull runs."""
        return bool(self._running)

    def running(self, items: tuple[PullItem, ...]) -> Pull | None:
        """The pull of just these files, if one runs."""
        return self._running.get(items)

    def all(self) -> list[Pull]:
        """Those that run, and those that have ended, the latest first."""
        return sorted((*self._running.values(), *self._ended), key=lambda pull: pull.began, reverse=True)

    def get(self, pull_id: str) -> Pull:
        """Raises UnknownPullError."""
        for pull in self.all():
            if pull.id == pull_id:
                return pull
        raise UnknownPullError(f"There is no pull '{pull_id}' here; GET /admin/pulls lists those that there are.")

    def refuse_new(self) -> None:
        """No new ones, and those that run stop in order: the next pull goes on from where they are."""
        self.closing = True
        for pull in self._running.values():
            pull.cancel()

    async def close(self) -> None:
        """Returns when all have stopped, or could not within some seconds."""
        self.refuse_new()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                for pull in tuple(self._running.values()):
                    await pull.over()
