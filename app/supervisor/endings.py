"""Why an engine that was READY is gone or about to go, where that was not our doing."""

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

# What llama-server says at a SIGTERM (b10434, b11434). It sends no more tokens then, and goes when its last answer
# does, which may be at its next ping in half a minute.
_GOODBYE = "cleaning up before exit"
# The socket is closed right behind the line. A prompt in a verbose log may hold the line, too.
_CLOSES_WITHIN_S, _LOOK_EVERY_S = 2.0, 0.05
# With which it goes then; 1 after a second signal
_TOLD_TO_END = (0, 1)
# Codes of what nobody but somebody else has done
FROM_OUTSIDE = frozenset(("killed", "terminated"))


class Ending(NamedTuple):
    """Of the process with this key."""

    key: str
    diagnosis: Diagnosis


def says_goodbye(line: str) -> bool:
    return _GOODBYE in line


async def until_deaf(goodbye: asyncio.Event, port: int) -> None:
    """Returns when the engine at `port` has said goodbye, and takes no connections any more."""
    while True:
        await goodbye.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSES_WITHIN_S):
                while await _listens(port):  # noqa: ASYNC110 - there is nothing but asking
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
    """It has ended. With 0 llama-server does so when it is told to, and we have told it nothing."""
    told = child.returncode == 0 or (child.returncode in _TOLD_TO_END and _said_goodbye(child.log))
    return diagnose(-signal.SIGTERM if told else child.returncode, tuple(child.log))


def unresponsive(child: Child) -> Diagnosis:
    """It is alive, and takes no connections."""
    if _said_goodbye(child.log):
        return diagnose(-signal.SIGTERM, tuple(child.log))
    cause = "llama-server takes no connections any more."
    advice = "The next request starts it again; the last lines of its log may say more."
    return Diagnosis("unresponsive", cause, advice, permanent=False, log_tail=last_lines(child.log))


def _said_goodbye(log: Iterable[str]) -> bool:
    return any(map(says_goodbye, log))
