"""Who holds a port that is taken, as far as this user may know."""

from __future__ import annotations

from contextlib import suppress

import psutil


def holder_of(port: int) -> str:
    """` by NAME (process PID)` for a message, with what stops it; empty where nobody tells."""
    with suppress(psutil.Error, OSError, RuntimeError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f", by {_name(psutil.Process(connection.pid))} (process {connection.pid})"
    return ""


def _name(process: psutil.Process) -> str:
    """A gateway of ours is named as such: the interpreter's name says little."""
    words = process.cmdline()
    ours = "serve" in words and any("llama-tandem" in word or word == "app" for word in words)
    return "another llama-tandem serve" if ours else process.name()
