"""Handles SIGHUP, which means a closed terminal or a reload."""

from __future__ import annotations

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable


def watch_hangup(loop: AbstractEventLoop, shut_down: Callable[[str], None], reload: Callable[[str], None]) -> None:
    """Drains and ends a gateway whose terminal has closed. Any other SIGHUP reads the settings again.

    An ignored SIGHUP (`nohup`) stays ignored.
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
    """Tells whether the process has a controlling terminal (tty(4): open fails with ENXIO or EIO otherwise)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
