"""Finds the process that holds a port, as far as the user may see it."""

from __future__ import annotations

from contextlib import suppress

import psutil

# After `python -m`
_MODULES = ("llama_tandem", "app")


def holder_of(port: int) -> str:
    """Returns ` by NAME (process PID)` and the command that stops it, for a message. Returns "" if unknown."""
    with suppress(psutil.Error, OSError, RuntimeError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f", by {_name(psutil.Process(connection.pid))} (process {connection.pid})"
    return ""


def _name(process: psutil.Process) -> str:
    """Returns a process's name. A gateway has the name of its program instead of the interpreter's."""
    words = process.cmdline()
    ours = "serve" in words and any("llama-tandem" in word or word in _MODULES for word in words)
    return "another llama-tandem serve" if ours else process.name()
