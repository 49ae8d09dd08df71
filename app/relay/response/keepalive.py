"""Writes comments in the pauses of an event stream, since clients and proxies give up on a silent one.

A chunk costs two looks at the clock. One timer per stream checks how long ago the last chunk was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

# Seconds until the next check if a pause is within an event, where a comment would break the event.
_AGAIN_S = 1.0
_NOT_YET = float("inf")


class StreamKeepalive:
    """Writes a stream's bytes, and `comment` after every `every` seconds without any, counted from `last` (loop time).

    `may_speak()` tells whether the stream is between two events. Close it when the bytes have ended, before anything
    else is written.
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
        # Time of the last byte to the client, by `clock`; not yet, while a write is in progress
        self.last = last
        # The task that writes a comment
        self.speaking: asyncio.Task[None] | None = None
        self._timer = self._loop.call_at(last + every, self._look)

    async def send(self, chunk: bytes) -> None:
        """Sends a chunk, after any comment that is being written."""
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
