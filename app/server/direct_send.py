"""ASGI's `send` of one request, which can also write bytes of a body without waiting for the event loop.

A wrapper around `send` (a translation, a HEAD) cannot, so it gets every message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from app.server.uvicorn_parts import RequestResponseCycle


class DirectSend:
    """`await send(message)` as ASGI has it; `send.direct()` once the head has been sent."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def __call__(self, message: Any) -> Awaitable[None]:
        return self._cycle.send(message)

    def direct(self) -> Callable[[bytes], bool] | None:
        """Returns a function that writes a chunk (not empty) at once, or returns False if `send` would wait.

        Returns None if the head has not been sent, or if the body has no chunks.
        """
        cycle = self._cycle
        if not (cycle.response_started and cycle.chunked_encoding):
            return None
        flow, transport = cycle.flow, cycle.transport

        def write_now(data: bytes) -> bool:
            if flow.write_paused or cycle.disconnected:
                return False
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))
            return True

        return write_now
