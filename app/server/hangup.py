"""SIGHUP: the terminal of this process has gone, or somebody sent the signal by hand."""

from __future__ import annotations

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable


def watch_hangup(loop: AbstractEventLoop, shut_down: Callable[[str], None], reload: Callable[[str], None]) -> None:
    """A gateway whose terminal has gone drains and ends; any other SIGHUP reads the settings again.

    A SIGHUP that is ignored already (`nohup`) stays ignored.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    had_terminal = has_terminal()

    def hangup() -> None:
        if had_terminal and not has_terminal():
            shut_down("SIGHUP")
        else:
            reload("SIGHUP")

    loop.add_signal_handler(signal.SIGHUP, hangup)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal (tty(4): open fails with ENXIO or EIO otherwise)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
