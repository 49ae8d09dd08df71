"""A node as a host of the gateway, and the children there. Requests go to the node's agent over a link."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from signal import Signals
from typing import Any, ParamSpec, TypeVar, cast

from app.cluster.link import NodeLink
from app.cluster.node_planner import PlanRequest
from app.cluster.nodes import NodeFacts, StartedChild
from app.cluster.wire import WORK, decoded, encoded, name_of
from app.engine.launch import LaunchPlan
from app.errors import HostLostError, TandemError
from app.supervisor.child import LOG_LINES_KEPT, Ended
from app.supervisor.host import SpawnOrder

P = ParamSpec("P")
T = TypeVar("T")


class RemoteChild:
    """A child on a node. Its end is the agent's answer, or the loss of the node."""

    def __init__(self, host: RemoteHost, id: str, started: StartedChild, on_line: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self.pid = started.pid
        self.port = started.port
        self.base_url = started.base_url
        self.log: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self.last_output = loop.time()
        self._host = host
        self._id = id
        self._on_line = on_line
        self._ended: asyncio.Future[Ended] = loop.create_future()
        self._lines = asyncio.create_task(self._read_lines())
        self._watch = asyncio.create_task(self._wait_for_the_end())

    @property
    def ended(self) -> Ended | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> Ended:
        return await asyncio.shield(self._ended)

    def signal(self, number: Signals) -> None:
        if self.ended is None:
            self._host.send("signal", {"id": self._id, "number": int(number)})

    async def terminate(self, grace: float, hurry: asyncio.Event) -> Ended:
        """One call: the grace passes where the process is."""
        if self.ended is None:
            self._host.send("terminate", {"id": self._id, "grace": grace})
        hurrying = asyncio.ensure_future(hurry.wait())
        ended = asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait({hurrying, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._host.send("hurry", {"id": self._id})
            return await ended
        finally:
            hurrying.cancel()
            ended.cancel()

    async def _wait_for_the_end(self) -> None:
        try:
            ended = decoded(await self._host.call("wait", {"id": self._id}), Ended)
        except HostLostError as error:
            ended = Ended(lost=error.reason)
        except TandemError as error:
            ended = Ended(lost=str(error))
        if not ended.lost:
            with suppress(TandemError):
                # The last lines, which say why
                await self._lines
            self._host.send("forget", {"id": self._id})
        self.end(ended)

    def end(self, ended: Ended) -> None:
        """Settles the end, unless it is known."""
        if not self._ended.done():
            self._ended.set_result(ended)
            self._host.children.discard(self)

    async def _read_lines(self) -> None:
        with suppress(TandemError):
            await self._host.lines(self._id, self._add_line)

    def _add_line(self, line: str) -> None:
        self.last_output = asyncio.get_running_loop().time()
        self.log.append(line)
        self._on_line(line)


class RemoteHost:
    """A node of the cluster, until it is lost. A node that comes back is another RemoteHost."""

    def __init__(self, facts: NodeFacts, link: NodeLink) -> None:
        self.name = facts.name
        self.facts = facts
        self.children: set[RemoteChild] = set()
        # Of the children that have ended with it
        self.lost_urls: tuple[str, ...] = ()
        # It answers late: no engine is started there
        self.suspect = False
        self._link = link
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # The loop keeps only weak references to tasks
        self._sending: set[asyncio.Task[None]] = set()

    async def plan(self, request: PlanRequest) -> LaunchPlan:
        """A plan by the node's own files and build. Raises the errors of `Planner.plan`, and HostLostError."""
        return cast(LaunchPlan, decoded(await self.call("plan", encoded(request)), LaunchPlan))

    async def key(self, request: PlanRequest) -> str:
        """The measurement key on the node. Raises the errors of `Planner.key`, and HostLostError."""
        return str(await self.call("key", encoded(request)))

    async def spawn(self, order: SpawnOrder, on_line: Callable[[str], None]) -> RemoteChild:
        try:
            started = decoded(await self.call("spawn", encoded(order)), StartedChild)
        except asyncio.CancelledError:
            # The agent may have it already, or get it later
            self.send("end", {"id": order.id})
            raise
        child = RemoteChild(self, order.id, started, on_line)
        self.children.add(child)
        return child

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self._run(name_of(work), args)

    async def _run(self, name: str, values: tuple[Any, ...]) -> Any:
        arguments = {"function": name, "values": [encoded(value) for value in values]}
        return decoded(await self.call("work", arguments), WORK[name].result)

    async def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """Raises HostLostError, and the errors of the agent."""
        return await self._until_lost(self._link.call(self.name, method, arguments))

    async def lines(self, id: str, on_line: Callable[[str], None]) -> None:
        """Passes the output of a child on, until it ends. Raises HostLostError."""
        await self._until_lost(self._link.lines(self.name, id, on_line))

    async def _until_lost(self, answering: Coroutine[Any, Any, T]) -> T:
        """A node that is cut off may never answer."""
        answer = asyncio.ensure_future(answering)
        try:
            waiting: set[asyncio.Future[Any]] = {answer, self._lost}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise HostLostError(self._lost.result())
            return answer.result()
        finally:
            answer.cancel()

    def send(self, method: str, arguments: dict[str, Any]) -> None:
        """Calls without waiting. A failure is the loss of the node or the end of the child, which others notice."""
        task = asyncio.create_task(self._sent(method, arguments))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _sent(self, method: str, arguments: dict[str, Any]) -> None:
        with suppress(TandemError):
            await self.call(method, arguments)

    def lose(self, reason: str) -> None:
        """Gives the node up: its children have ended, and it takes no more calls."""
        if not self._lost.done():
            self._lost.set_result(f"{self.name}: {reason}")
        self.lost_urls = tuple(child.base_url for child in self.children)
        for child in tuple(self.children):
            child.end(Ended(lost=self._lost.result()))
