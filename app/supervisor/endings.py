"""Why an engine that was READY is gone, where that was not our doing."""

from __future__ import annotations

import signal
from typing import NamedTuple

from app.engine.diagnose import diagnose, last_lines
from app.errors import Diagnosis
from app.supervisor.child import Child


class Ending(NamedTuple):
    """Of the process with this key."""

    key: str
    diagnosis: Diagnosis


def exited(child: Child) -> Diagnosis:
    """It ended. llama-server does so with 0 when it is told to, and we have told it nothing."""
    return diagnose(child.returncode or -signal.SIGTERM, tuple(child.log))


def unresponsive(child: Child) -> Diagnosis:
    """It is alive."""
    cause = "llama-server takes no connections any more, as after a SIGTERM."
    advice = "Look for what ends it; the next request starts it again."
    return Diagnosis("unresponsive", cause, advice, permanent=False, log_tail=last_lines(child.log))
