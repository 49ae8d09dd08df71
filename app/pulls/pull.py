"""Runs one pull in its own thread, on behalf of the event loop."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from app import logs
from app.errors import TandemError
from app.models.download.events import DownloadEvent, Emit
from app.pulls.progress import PullProgress, PullSnapshot

log = logs.get_logger("pull")

# The work of the thread. It reports progress through the first argument, several times per second, and sleeps by the
# second. Either raises an exception to end the pull.
Work = Callable[[Emit, Callable[[float], None]], object]


class PullState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class _CancelledError(Exception):
    """Raised inside the work, from its progress callback."""


class Pull:
    """Starts on creation, inside the running loop. Only the loop writes `state`.

    The thread is a daemon: a gateway that exits does not wait for a silent Hub. The next pull resumes from any point.
    """

    def __init__(self, name: str, work: Work, on_end: Callable[[Pull], None]) -> None:
        self.id = secrets.token_hex(6)
        self.name = name
        # The current state. Times are wall-clock times.
        self.state = PullState.RUNNING
        self.reason = ""
        self.began = time.time()
        self.ended: float | None = None
        # Used by the thread
        self._progress = PullProgress()
        self._telling = threading.Lock()  # Helper threads report too
        self._stop = threading.Event()
        # Used by the loop
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._over = asyncio.Event()
        log.info("pull begun", name=name, pull=self.id)
        threading.Thread(target=self._run, args=(work,), name=f"pull {name}", daemon=True).start()

    def __repr__(self) -> str:
        return f"<Pull {self.name}: {self.state}>"

    @property
    def progress(self) -> PullSnapshot:
        return self._progress.now

    async def over(self) -> None:
        """Returns once the pull has ended, whatever the result."""
        await self._over.wait()

    def cancel(self) -> None:
        """Ends the pull within a second, unless it waits for the Hub. Harmless after its end."""
        self._stop.set()

    def _settle(self, state: PullState, reason: str) -> None:
        self.state, self.reason, self.ended = state, reason, time.time()
        self._over.set()
        self._on_end(self)
        write = log.warning if state is PullState.FAILED else log.info
        seconds = round(self.ended - self.began, 1)
        write(f"pull {state}", name=self.name, pull=self.id, s=seconds, **({"error": reason} if reason else {}))

    # -- in the thread ---------------------------------------------------------------------------------------

    def _run(self, work: Work) -> None:
        state, reason = PullState.DONE, ""
        try:
            work(self._tell, self._sleep)
        except _CancelledError:
            state, reason = PullState.CANCELLED, "The pull was cancelled. The bytes received so far are kept."
        except TandemError as error:
            state, reason = PullState.FAILED, str(error)
        except Exception:
            log.exception("pull failed: internal error", name=self.name, pull=self.id)
            state, reason = PullState.FAILED, "Internal error of the gateway. Its log has the cause."
        # A closed loop has no waiters left
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, state, reason)

    def _tell(self, event: DownloadEvent) -> None:
        if self._stop.is_set():
            raise _CancelledError
        if event.kind == "note":
            log.info(event.text, name=self.name, pull=self.id)
        with self._telling:
            self._progress.take(event, time.monotonic())

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _CancelledError
