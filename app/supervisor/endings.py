"""Diagnoses the end of a READY engine that the gateway has not ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from app.engine.diagnose import diagnose, last_lines
from app.errors import Diagnosis
from app.supervisor.child import Child
from app.supervisor.ports import LOOPBACK

# llama-server's log line after a SIGTERM (b10434, b11434). It sends no more tokens then, and exits with its last
# answer, which may last until its next ping, half a minute later.
_GOODBYE = "cleaning up before exit"
# The socket closes right after the line. A prompt in a verbose log may contain the line, too.
_CLOSES_WITHIN_S, _LOOK_EVERY_S = 2.0, 0.05
# Exit codes after a SIGTERM: 0, or 1 after a second signal
_ENDED_BY_SIGNAL = (0, 1)
# Codes of endings that only another process can cause
FROM_OUTSIDE = frozenset(("killed", "terminated"))


class Ending(NamedTuple):
    """The diagnosis of the process with this key."""

    key: str
    diagnosis: Diagnosis


def says_goodbye(line: str) -> bool:
    return _GOODBYE in line


async def until_deaf(goodbye: asyncio.Event, port: int) -> None:
    """Returns when the engine at `port` has logged its goodbye and accepts no connections."""
    while True:
        await goodbye.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSES_WITHIN_S):
                while await _listens(port):  # noqa: ASYNC110 - polling is the only way
                    await asyncio.sleep(_LOOK_EVERY_S)
                return
        goodbye.clear()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.transport.abort()
    return True


def exited(child: Child) -> Diagnosis:
    """The diagnosis of an engine that has exited. Status 0 means a signal, and the gateway sent none."""
    signalled = child.returncode == 0 or (child.returncode in _ENDED_BY_SIGNAL and _said_goodbye(child.log))
    return diagnose(-signal.SIGTERM if signalled else child.returncode, tuple(child.log))


def unresponsive(child: Child) -> Diagnosis:
    """The diagnosis of an engine that is alive but accepts no connections."""
    if _said_goodbye(child.log):
        return diagnose(-signal.SIGTERM, tuple(child.log))
    cause = "llama-server no longer accepts connections."
    advice = "Send the request again to restart it, or see the last lines of its log."
    return Diagnosis("unresponsive", cause, advice, permanent=False, log_tail=last_lines(child.log))


def _said_goodbye(log: Iterable[str]) -> bool:
    return any(map(says_goodbye, log))
