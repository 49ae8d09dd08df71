"""Comments in the pauses of an event stream: clients and proxies give up on one that is silent.

A chunk costs a look at the clock; one timer a stream looks how long ago the last one was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

# How soon a pause within an event, where a comment would break it, is looked at again.
_AGAIN_S = 1.0
_NOT_YET = float("inf")


class StreamKeepalive:
    """Writes a stream's bytes, and `comment` where none have come for `every` seconds, from `last` (loop's clock) on.

    `may_speak` says whether the stream stands between two events. To be closed when the bytes have ended, before
    anything else is written.
    """

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        comment: bytes,
        may_speak: Callable[[], bool],
        *,
        last: float,
        every: float,
    ) -> None:
        self._write = write
        self._comment = comment
        self._may_speak = may_speak
        self._every = every
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        # When the client last got something, by `clock`; not yet, while it is being sent
        self.last = last
        # A comment on its way
        self.speaking: asyncio.Task[None] | None = None
        self._timer = self._loop.call_at(last + every, self._look)

    async def send(self, chunk: bytes) -> None:
        """Not before a comment that is on its way."""
        if self.speaking is not None:
            await self.speaking
            self.speaking = None
        self.last = _NOT_YET
        await self._write(chunk)
        self.last = self._loop.time()

    def close(self) -> None:
        self._timer.cancel()
        if self.speaking is not None:
            self.speaking.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        due = self.last + self._every
        if due <= now:
            due = now + _AGAIN_S
            if self._may_speak():
                self.last = _NOT_YET
                self.speaking = asyncio.ensure_future(self._speak())
        self._timer = self._loop.call_at(min(due, now + self._every), self._look)

    async def _speak(self) -> None:
        await self._write(self._comment)
        self.last = self._loop.time()
