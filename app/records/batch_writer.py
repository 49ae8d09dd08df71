"""Writing down once a second what came meanwhile, and never twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

EVERY_S = 1.0


class Batches:
    """`write` takes all that is there; `pending` says whether there is anything. Nothing runs while nothing comes."""

    def __init__(self, write: Callable[[], Awaitable[None]], pending: Callable[[], bool]) -> None:
        self._write = write
        self._pending = pending
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def due(self) -> None:
        """Something is there: it is written within `EVERY_S`, or right after the write that is under way."""
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._begin)

    async def close(self) -> None:
        """Writes what is left."""
        if self._writing is not None:
            await self._writing
        if self._timer is not None:
            self._timer.cancel()
        if self._pending():
            await self._write()

    def _begin(self) -> None:
        self._timer = None
        self._writing = asyncio.create_task(self._write_and_go_on())

    async def _write_and_go_on(self) -> None:
        try:
            await self._write()
        finally:
            self._writing = None
            if self._pending():
                self.due()
