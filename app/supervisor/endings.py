"""Diagnoses the end of a READY engine that the gateway has not ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from app.engine.diagnose import diagnose, last_lines
from app.errors import Diagnosis
from app.supervisor.child import Ended
from app.supervisor.host import Child

# llama-server's log line after a SIGTERM (b10434, b11434). It sends no more tokens then, and exits with its last
# answer, which may last until its next ping, half a minute later.
_GOODBYE = "cleaning up before exit"
# The socket closes right after the line. A prompt in a verbose log may contain the line, too.
_CLOSES_WITHIN_S, _LOOK_EVERY_S = 2.0, 0.05
# Exit codes after a SIGTERM: 0, or 1 after a second signal
_ENDED_BY_SIGNAL = (0, 1)
# Codes of endings that only another process can cause
# The code of an end with the engine's machine
NODE_LOST = "node_lost"
# No machine for the next start
NO_NODE = "no_node"
# Codes of endings that have nothing to do with the engine itself
FROM_OUTSIDE = frozenset(("killed", "terminated", NODE_LOST, NO_NODE))


class Ending(NamedTuple):
    """The diagnosis of the process with this key."""

    key: str
    diagnosis: Diagnosis


def says_goodbye(line: str) -> bool:
    return _GOODBYE in line


async def until_deaf(goodbye: asyncio.Event, base_url: str) -> None:
    """Returns when the engine at `base_url` has logged its goodbye and accepts no connections."""
    while True:
        await goodbye.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSES_WITHIN_S):
                while await _listens(base_url):  # noqa: ASYNC110 - polling is the only way
                    await asyncio.sleep(_LOOK_EVERY_S)
                return
        goodbye.clear()


async def _listens(base_url: str) -> bool:
    address = urlsplit(base_url)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return False
    writer.transport.abort()
    return True


def ended_early(ended: Ended, log: Iterable[str]) -> Diagnosis:
    """The diagnosis of an engine that has ended before it was ready, or during its first request."""
    return lost(ended.lost) if ended.lost else diagnose(ended.code, tuple(log))


def exited(child: Child) -> Diagnosis:
    """The diagnosis of an engine that has ended. Status 0 means a signal, and the gateway sent none."""
    ended = child.ended or Ended()
    if ended.lost:
        return lost(ended.lost)
    signalled = ended.code == 0 or (ended.code in _ENDED_BY_SIGNAL and _said_goodbye(child.log))
    return diagnose(-signal.SIGTERM if signalled else ended.code, tuple(child.log))


def lost(reason: str) -> Diagnosis:
    """The diagnosis of an engine whose host is lost. Its next start is elsewhere."""
    cause = f"The engine's machine is lost: {reason}."
    return Diagnosis(NODE_LOST, cause, "Send the request again: it starts the engine on another one.", permanent=False)


def unresponsive(child: Child, hangs: str | None = None) -> Diagnosis:
    """The diagnosis of an engine that is alive but accepts no connections, or hangs for this cause."""
    if _said_goodbye(child.log):
        return diagnose(-signal.SIGTERM, tuple(child.log))
    cause = f"llama-server hangs. {hangs}." if hangs else "llama-server no longer accepts connections."
    advice = "Send the request again to restart it, or see the last lines of its log."
    return Diagnosis("unresponsive", cause, advice, permanent=False, log_tail=last_lines(child.log))


def _said_goodbye(log: Iterable[str]) -> bool:
    return any(map(says_goodbye, log))
