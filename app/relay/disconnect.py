"""Cancels work when the client disconnects before its answer is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from app.relay.request.body import ClientDisconnectedError, Receive

# Seconds. An answer that arrives sooner needs no watching task: it is sent whether the client has left or not.
WATCH_AFTER_S = 0.01


class _DisconnectWatch:
    """A context manager. See `cancel_on_disconnect`."""

    __slots__ = ("_answered", "_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive, answered: Callable[[], bool]) -> None:
        self._receive = receive
        self._answered = answered
        self._gone = False
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, timer, watcher = self._task, self._timer, self._watcher
        assert task is not None and timer is not None
        # A cancelled task refers to its watch. If the watch referred to the task too, only the garbage collector could
        # free them.
        self._task = self._timer = self._watcher = None
        timer.cancel()
        if watcher is not None:
            watcher.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError):
            task.uncancel()
            raise ClientDisconnectedError from None

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        # uvicorn's send() does not report a disconnect, but receive() does.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None and not self._answered():
            self._gone = True
            self._task.cancel()


def cancel_on_disconnect(receive: Receive, *, answered: Callable[[], bool] = lambda: False) -> _DisconnectWatch:
    """Returns a context manager that cancels its body when the client leaves, and then raises ClientDisconnectedError.

    It cancels nothing once `answered()` is true, since ASGI servers also report the end of an answer as a disconnect.
    """
    return _DisconnectWatch(receive, answered)
