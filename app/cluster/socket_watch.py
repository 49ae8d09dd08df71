"""Ends the sidecar with its socket: by a thread, since the event loop may hang in a call of Ray."""

from __future__ import annotations

import os
import select
import shutil
import threading
from pathlib import Path

# Not every system has it; the others report the end of the socket as POLLHUP
_ENDED = getattr(select, "POLLRDHUP", 0)


def end_with(descriptor: int, folder: Path) -> None:
    """Starts the thread. At the end of the socket it removes the socket's folder, then ends the process at once."""
    threading.Thread(target=_watch, args=(descriptor, folder), name="socket-watch", daemon=True).start()


def _watch(descriptor: int, folder: Path) -> None:
    poll = select.poll()
    poll.register(descriptor, _ENDED)
    poll.poll()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
