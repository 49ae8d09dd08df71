"""One pull in a thread of its own, as the event loop sees it."""

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

# What is done in the thread; it tells what it does through the first argument, several times a second, and sleeps
# with the second. Either raises when the pull is to end.
Work = Callable[[Emit, Callable[[float], None]], object]


class PullState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class _CancelledError(Exception):
    """Raised within the work, from what it tells."""


class Pull:
    """Begins when it is made, inside the running loop, which alone writes `state`.

    The thread is a daemon: a gateway that has to go does not wait for a Hub that has fallen silent, and what a pull
    leaves behind at any moment is what the next one goes on from.
    """

    def __init__(self, name: str, work: Work, on_end: Callable[[Pull], None]) -> None:
        self.id = secrets.token_hex(6)
        self.name = name
        # What is true now; times are those of the wall's clock
        self.state = PullState.RUNNING
        self.reason = ""
        self.began = time.time()
        self.ended: float | None = None
        # The thread's
        self._progress = PullProgress()
        self._telling = threading.Lock()  # it has helpers, who tell as well
        self._stop = threading.Event()
        # The loop's
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
        """Returns once it has ended, however."""
        await self._over.wait()

    def cancel(self) -> None:
        """Ends it soon, within a second unless it waits for an answer of the Hub; harmless after its end."""
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
            state, reason = PullState.CANCELLED, "It was cancelled; what was received is kept."
        except TandemError as error:
            state, reason = PullState.FAILED, str(error)
        except Exception:
            log.exception("pull failed by a fault of ours", name=self.name, pull=self.id)
            state, reason = PullState.FAILED, "The gateway failed; its log says why."
        # A loop that is closed has nobody left who waits
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
