"""One child process: spawn, signal, wait, log lines. It knows nothing of llama-server.

A child dies with the gateway, even after `kill -9` of the gateway: on Linux by PR_SET_PDEATHSIG, elsewhere because its
stdin ends. The kernel sends the death signal when the *thread* that forked ends, so `spawn` must run on the main
thread, never in a pool. `asyncio`'s own subprocesses are not used: uvloop's fork copies page tables (34 ms at 1 GB) and
takes no process group.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.engine.parent_death import tied_to_parent

LOG_LINES_KEPT = 400
# A longer line is cut: a child that never ends its line must not fill the gateway's memory.
LINE_LIMIT = 8192
# A burst of lines takes a few milliseconds of the event loop at once.
_READ_AT_ONCE = 16384
# How long the last lines may take to arrive after the exit; a grandchild can hold the pipe open for ever.
LAST_WORDS_S = 0.5


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a child: its exit code, negative for a signal as in Popen; or why its host is lost, and it with it."""

    code: int | None = None
    lost: str = ""


class LocalChild:
    """A running child in its own session, which is to listen at an address."""

    def __init__(self, process: subprocess.Popen[bytes], on_line: Callable[[str], None], at: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.port = at[1]
        self.base_url = f"http://{at[0]}:{at[1]}"
        self.log: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self.last_output = loop.time()
        self._process = process
        self._on_line = on_line
        self._rest = b""
        self._exited: asyncio.Future[Ended] = loop.create_future()
        self._log_ended: asyncio.Future[None] = loop.create_future()
        self._watch_log()
        self._watch_exit()

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        env: Mapping[str, str],
        on_line: Callable[[str], None] = lambda _: None,
        *,
        at: tuple[str, int],
        folder: Path | None = None,
    ) -> LocalChild:
        """Starts a child, which is to listen `at` this address, in this working folder.

        Needs a running loop and never awaits, so a cancelled caller cannot lose a child.

        Raises OSError if the program cannot be executed.
        """
        linux = sys.platform == "linux"
        if not linux:
            # The embedded engine and llama-server end with their stdin, if the environment says so.
            env = {**env, "LLAMA_TANDEM_PARENT_STDIN": "1", "LLAMA_SERVER_ROUTER_PORT": "1"}
        process = subprocess.Popen(
            tied_to_parent(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL if linux else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
        return cls(process, on_line, at)

    def _watch_log(self) -> None:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read_log, descriptor)

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self.pid)
            loop.add_reader(descriptor, self._reap, descriptor)
        else:
            waiter = loop.run_in_executor(None, self._process.wait)
            waiter.add_done_callback(lambda done: self._settle(done.result()))

    def _read_log(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ_AT_ONCE)
        except BlockingIOError:
            return
        self.last_output = asyncio.get_running_loop().time()
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_LIMIT]
        if not data:
            lines, self._rest = [self._rest] if self._rest else [], b""
            self._close_log()
        for line in lines:
            text = line[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\r")
            self.log.append(text)
            self._on_line(text)

    def _close_log(self) -> None:
        stdout = self._process.stdout
        if stdout is not None and not stdout.closed:
            asyncio.get_running_loop().remove_reader(stdout.fileno())
            stdout.close()
        if not self._log_ended.done():
            self._log_ended.set_result(None)

    def _reap(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        # The children of a wrapper script must end too: they would keep port and memory. This is done before the
        # reaping, while no other process group can have the number.
        self.signal(signal.SIGKILL)
        self._settle(self._process.wait())

    def _settle(self, returncode: int) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        if not self._exited.done():
            self._exited.set_result(Ended(returncode))

    @property
    def ended(self) -> Ended | None:
        """None while it runs."""
        return self._exited.result() if self._exited.done() else None

    def when_reaped(self, then: Callable[[], None]) -> None:
        """Calls `then` in the first turn of the loop after the end."""
        self._exited.add_done_callback(lambda _: then())

    async def wait(self) -> Ended:
        """Its end, once the child is reaped and its last lines are in `log`."""
        ended = await asyncio.shield(self._exited)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._log_ended), LAST_WORDS_S)
        self._close_log()
        return ended

    def signal(self, number: signal.Signals) -> None:
        """Signals the whole process group; ignores a child that is gone."""
        if self.ended is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def terminate(self, grace: float, hurry: asyncio.Event) -> Ended:
        """SIGTERM, grace (cut short by `hurry`), SIGTERM again, SIGKILL; returns when the child is reaped.

        llama-server takes a second SIGTERM as "at once", which still lets it free device memory in order.
        """
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGTERM, min(1.0, grace))):
            self.signal(number)
            waiting = {asyncio.ensure_future(self.wait()), asyncio.ensure_future(hurry.wait())}
            await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            if self.ended is not None:
                return await self.wait()
        self.signal(signal.SIGKILL)
        return await self.wait()
