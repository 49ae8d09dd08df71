"""Keeps the Ray node of this machine running for `node start`, and joins the cluster again when it ends.

Every process of the node has the supervisor's marker in its environment, so that none is left at the end, and none of
another cluster is touched. `ray stop` is never used: it ends every Ray of the machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from app import logs
from app.cluster.node_leftovers import NODE_MARKER, clear_orphans, end_own_processes, renew_node_folder
from app.cluster.ray_node import STARTED, RayNode, last_words, refusal
from app.errors import NodeNotStartedError
from app.supervisor.child import LocalChild
from app.supervisor.orphans import marker

log = logs.get_logger("node")
T = TypeVar("T")

# Of `ray start`, which can hang for ever beside a head that does not answer
START_LIMIT_S = 120.0
_HEAD_ANSWERS_S = 5.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 15.0
# Between SIGTERM and SIGKILL
_GRACE_S = 10.0
# Ray prints the last 200 lines of a process that ended
_LINES_KEPT = 400
# Of a head with what it has stored
_STORE_TRIES = 3


class NodeSupervisor:
    """`say` gets what a person should read. `stop` ends the node; called twice, at once."""

    def __init__(self, node: RayNode, say: Callable[[str], None]) -> None:
        self._node = node
        self._say = say
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._started = asyncio.Event()
        self._has_been_up = False
        # Starts in a row
        self._failures = 0

    def stop(self) -> None:
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    async def run(self) -> None:
        """Returns after `stop`. Raises NodeNotStartedError if the cluster can never take this machine."""
        delay = _FIRST_DELAY_S
        try:
            await asyncio.to_thread(clear_orphans)
            self._check_ports()
            while not self._stopping.is_set():
                up, why = await self._run_once()
                if self._stopping.is_set():
                    return
                delay = _FIRST_DELAY_S if up else min(2 * delay, _LONGEST_DELAY_S)
                self._say(f"{why}; trying again in {delay:g} s.")
                await self._unless_stopped(asyncio.sleep(delay))
        finally:
            shutil.rmtree(self._node.folder, ignore_errors=True)

    async def _run_once(self) -> tuple[bool, str]:
        """Runs the node to its end. Returns whether it was up, and why it is not any more."""
        if why := await self._why_no_head():
            return False, why
        renew_node_folder(self._node.folder)
        self._lines.clear()
        self._started.clear()
        environment = self._node.environment(os.environ) | {NODE_MARKER: marker()}
        child = LocalChild.spawn(self._node.argv(), environment, self._heard, at=("", 0))
        try:
            if not await self._until_up(child):
                return False, self._why_not_started(child)
            self._say(self._greeting())
            self._has_been_up, self._failures = True, 0
            await self._unless_stopped(child.wait())
            return True, f"The node ended: {last_words(self._lines)}"
        finally:
            await self._end(child)

    async def _until_up(self, child: LocalChild) -> bool:
        waiting = {asyncio.ensure_future(self._started.wait()), asyncio.ensure_future(child.wait())}
        try:
            await self._unless_stopped(
                asyncio.wait(waiting, timeout=START_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
            )
        finally:
            for task in waiting:
                task.cancel()
        return self._started.is_set() and child.ended is None

    def _why_not_started(self, child: LocalChild) -> str:
        """Raises NodeNotStartedError, except for a node that was up before: its cluster may come back."""
        if child.ended is None:
            return f"`ray start` took longer than {START_LIMIT_S:g} s"
        if (why := refusal(self._lines)) and not self._has_been_up:
            raise NodeNotStartedError(f"Node {self._node.name} cannot join {self._node.head}: {why}.")
        self._failures += 1
        if self._node.store is not None and self._failures % _STORE_TRIES == 0:
            # A store that a later Ray cannot read would keep the head down for ever; nodes join a new one too
            self._say(f"The head forgets its nodes: it did not start {_STORE_TRIES} times.")
            shutil.rmtree(self._node.store, ignore_errors=True)
        return f"The node did not start: {why or last_words(self._lines)}"

    def _greeting(self) -> str:
        node = self._node
        if node.is_head:
            join = f"Other machines: llama-tandem node start --join {node.head}"
            return f"Node {node.name} is the head of the cluster at {node.head}.\n{join}    Stop: Ctrl-C"
        return f"Node {node.name} ({node.address}) is in the cluster of {node.head}. Stop: Ctrl-C"

    def _heard(self, line: str) -> None:
        self._lines.append(line)
        if STARTED in line:
            self._started.set()
        log.debug(line)

    async def _why_no_head(self) -> str:
        """Ray itself tries an absent head for minutes."""
        if self._node.is_head:
            self._node_store()
            return ""
        host, _, port = self._node.head.rpartition(":")
        try:
            connecting = asyncio.open_connection(host.strip("[]"), int(port))
            _, writer = await asyncio.wait_for(connecting, _HEAD_ANSWERS_S)
        except TimeoutError:
            return f"{self._node.head} does not answer"
        except OSError as error:
            return f"{self._node.head} does not answer: {os.strerror(error.errno) if error.errno else error}"
        writer.close()
        return ""

    def _node_store(self) -> None:
        assert self._node.store is not None
        self._node.store.mkdir(parents=True, exist_ok=True)

    def _check_ports(self) -> None:
        """Raises NodeNotStartedError for a port that another program has."""
        for port in self._node.fixed_ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("", port))
                except OSError as error:
                    option = "--port" if self._node.is_head and port == self._node.head_port else "--ports"
                    raise NodeNotStartedError(
                        f"Port {port} is not free: {error.strerror}. Choose another with {option}."
                    ) from None

    async def _unless_stopped(self, work: Awaitable[T]) -> None:
        """Waits for this, or until `stop`."""
        waiting = {asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _end(self, child: LocalChild) -> None:
        """First `ray start` alone, which ends the others in order; then whatever is left of the node."""
        if child.ended is None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
            waiting = {asyncio.ensure_future(child.wait()), asyncio.ensure_future(self._hurrying.wait())}
            await asyncio.wait(waiting, timeout=_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            child.signal(signal.SIGKILL)
        await child.wait()
        await asyncio.to_thread(end_own_processes)
