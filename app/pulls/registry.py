"""Holds all pulls of a gateway: at most one per set of files, and the last finished ones."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from app.errors import ShuttingDownError, UnknownPullError
from app.models.download.pull_item import PullItem
from app.pulls.pull import Pull, Work

# Finished pulls to remember
REMEMBERED = 50
# Seconds that running pulls may take to stop. A pull that waits for the Hub may be cut off harmlessly.
_STOP_S = 5.0


class Pulls:
    """`work` makes the work of a pull from its items, and from whether a newer version replaces the files here."""

    def __init__(self, work: Callable[[tuple[PullItem, ...], bool], Work]) -> None:
        self._work = work
        self._running: dict[tuple[PullItem, ...], Pull] = {}
        self._ended: deque[Pull] = deque(maxlen=REMEMBERED)
        self.closing = False

    def start(self, name: str, items: tuple[PullItem, ...], *, update: bool = False) -> Pull:
        """Returns a new pull, or the running one for the same files. Raises ShuttingDownError."""
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
        """Whether any pull is running."""
        return bool(self._running)

    def running(self, items: tuple[PullItem, ...]) -> Pull | None:
        """Returns the running pull for exactly these files, if any."""
        return self._running.get(items)

    def all(self) -> list[Pull]:
        """Returns running and finished pulls, the latest first."""
        return sorted((*self._running.values(), *self._ended), key=lambda pull: pull.began, reverse=True)

    def get(self, pull_id: str) -> Pull:
        """Returns a pull by id. Raises UnknownPullError."""
        for pull in self.all():
            if pull.id == pull_id:
                return pull
        raise UnknownPullError(f"Pull '{pull_id}' not found. GET /admin/pulls lists all pulls.")

    def refuse_new(self) -> None:
        """Refuses new pulls and stops the running ones in order. The next pull resumes them."""
        self.closing = True
        for pull in self._running.values():
            pull.cancel()

    async def close(self) -> None:
        """Returns when all pulls have stopped, or after some seconds."""
        self.refuse_new()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                for pull in tuple(self._running.values()):
                    await pull.over()
