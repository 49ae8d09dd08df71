"""Watches an event loop: how long one callback keeps it, in CPU time of its thread."""

from __future__ import annotations

import asyncio
import gc
import time
from asyncio.events import Handle
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

# Seconds of CPU that a turn may take. All streams wait meanwhile
LONGEST_TURN_S = 0.01
_TRIES = 5


class LoopWatch:
    """Measures each callback of asyncio's own loop, of which each step of a task is one."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.turns = 0
        self.what = ""

    def run(self, main: Coroutine[Any, Any, Any]) -> None:
        """Runs `main` to its end on a new loop."""
        run_handle = Handle._run

        def measured(handle: Handle) -> None:
            began = time.thread_time()
            run_handle(handle)
            seconds = time.thread_time() - began
            self.turns += 1
            if seconds > self.longest:
                self.longest, self.what = seconds, repr(handle)[:300]

        gc.collect()  # What earlier tests have left is not this turn's
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Handle, "_run", measured)
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(main)


def check_turns(main: Callable[[], Coroutine[Any, Any, Any]], longest: float = LONGEST_TURN_S) -> None:
    """Fails if a callback takes longer in each of several tries: another process can only make one of them slow."""
    watches = []
    for _ in range(_TRIES):
        watches.append(watch := LoopWatch())
        watch.run(main())
        if watch.longest <= longest:
            return
    best = min(watches, key=lambda watch: watch.longest)
    raise AssertionError(f"a turn of {best.longest * 1e3:.1f} ms, the best of {_TRIES} tries: {best.what}")
