"""The agent of one node: spawns children there, watches them, and runs blocking work beside them. It knows no Ray.

All requests come through `call`, as JSON. `lines` is the output of one child. Children are tied to the thread that
runs the agent's event loop, so they die with its process.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from app import version
from app.cluster.lease import NodeLease
from app.cluster.node_memory import JudgeRequest, KeepRequest, MeasureRequest
from app.cluster.node_planner import NodePlanner, PlanRequest
from app.cluster.nodes import NodeFacts, NodeOrders, StartedChild
from app.cluster.wire import WORK, decoded, encoded, encoded_error
from app.engine.footprint.verdict import MemoryVerdict
from app.engine.launch import LaunchPlan
from app.errors import EngineNotFoundError, HostLostError
from app.records.footprints import HeldMemory
from app.supervisor.child import Ended, LocalChild
from app.supervisor.host import LocalHost, SpawnOrder
from app.supervisor.memory_sight import SeenMemory
from app.supervisor.orphans import sweep

# Of a child's output, while its reader is slow. As many lines as a child keeps
_LINES_KEPT = 400
# Ray's own, and for its workers only: engines would compute on one core, and know the cluster's token
_NOT_FOR_ENGINES = ("OMP_NUM_THREADS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")


class Agent:
    """Create it in the event loop that serves it."""

    def __init__(self, orders: NodeOrders) -> None:
        for name in _NOT_FOR_ENGINES:
            os.environ.pop(name, None)
        self._orders = orders
        self._host = LocalHost(orders.first_port, orders.last_port, name=orders.name, address=orders.address)
        self._lease = NodeLease(orders.lease)
        self._planner = NodePlanner()
        self._children: dict[str, AgentChild] = {}
        # Orders that were called off before they came
        self._forbidden: set[str] = set()
        self._calls: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "hello": self._hello,
            "beat": self._beat,
            "spawn": self._spawn,
            "wait": self._wait,
            "signal": self._signal,
            "terminate": self._terminate,
            "hurry": self._hurry,
            "end": self._end,
            "forget": self._forget,
            "plan": self._plan,
            "key": self._key,
            "work": self._work,
            "see_memory": self._see_memory,
            "judge_memory": self._judge_memory,
            "measure_memory": self._measure_memory,
            "keep_memory": self._keep_memory,
        }

    async def call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns `{"result": ...}` or `{"error": ...}`. Each call renews the lease."""
        self._lease.beat()
        try:
            return {"result": encoded(await self._calls[method](arguments))}
        except Exception as error:
            return {"error": encoded_error(error)}

    async def lines(self, id: str) -> AsyncIterator[list[str]]:
        """The output of a child, as batches of the lines that have come since. Ends with the child."""
        child = self._children.get(id)
        while child is not None and (batch := await child.output.take()):
            yield batch

    async def _hello(self, _: dict[str, Any]) -> NodeFacts:
        await asyncio.to_thread(sweep)
        try:
            engine = (await asyncio.to_thread(self._planner.binary)).origin
        except EngineNotFoundError as error:
            engine = str(error)
        state_dir = str(self._planner.state_dir)
        name, address = self._orders.name, self._orders.address
        return NodeFacts(name, address, version(), platform.python_version(), engine, state_dir)

    async def _beat(self, _: dict[str, Any]) -> None:
        """Renews the lease, as each call does."""

    async def _spawn(self, arguments: dict[str, Any]) -> StartedChild:
        """The same order given twice starts one child; one that was called off before starts none."""
        order = decoded(arguments, SpawnOrder)
        if order.id in self._forbidden:
            raise HostLostError("the start was called off")
        if (child := self._children.get(order.id)) is None:
            output = ChildOutput()
            process = await self._host.spawn(order, output.add)
            self._lease.guard(process.pid)
            child = self._children[order.id] = AgentChild(process, output, asyncio.Event())
            process.when_reaped(lambda: self._lease.release(process.pid))
        return StartedChild(child.process.pid, child.process.port, child.process.base_url)

    async def _wait(self, arguments: dict[str, Any]) -> Ended:
        child = self._child(arguments)
        ended = await child.process.wait()
        child.output.close()
        return ended

    async def _signal(self, arguments: dict[str, Any]) -> None:
        self._child(arguments).process.signal(signal.Signals(arguments["number"]))

    async def _terminate(self, arguments: dict[str, Any]) -> Ended:
        child = self._child(arguments)
        return await child.process.terminate(float(arguments["grace"]), child.hurry)

    async def _hurry(self, arguments: dict[str, Any]) -> None:
        self._child(arguments).hurry.set()

    async def _end(self, arguments: dict[str, Any]) -> None:
        """Calls an order off: its child is killed, also if the order comes later."""
        self._forbidden.add(arguments["id"])
        if (child := self._children.get(arguments["id"])) is not None:
            child.process.signal(signal.SIGKILL)

    async def _forget(self, arguments: dict[str, Any]) -> None:
        """Drops a child that has ended, once the gateway knows its end."""
        self._children.pop(arguments["id"], None)

    async def _plan(self, arguments: dict[str, Any]) -> LaunchPlan:
        return await asyncio.to_thread(self._planner.plan, decoded(arguments, PlanRequest))

    async def _key(self, arguments: dict[str, Any]) -> str:
        return await asyncio.to_thread(self._planner.key, decoded(arguments, PlanRequest))

    async def _work(self, arguments: dict[str, Any]) -> Any:
        work = WORK[arguments["function"]]
        values = [decoded(value, kind) for value, kind in zip(arguments["values"], work.arguments, strict=True)]
        return await asyncio.to_thread(work.function, *values)

    async def _see_memory(self, _: dict[str, Any]) -> SeenMemory:
        return await asyncio.to_thread(self._planner.memory.see)

    async def _judge_memory(self, arguments: dict[str, Any]) -> MemoryVerdict:
        return await asyncio.to_thread(self._planner.memory.judge, decoded(arguments, JudgeRequest))

    async def _measure_memory(self, arguments: dict[str, Any]) -> dict[str, HeldMemory]:
        return await asyncio.to_thread(self._planner.memory.measure, decoded(arguments, MeasureRequest))

    async def _keep_memory(self, arguments: dict[str, Any]) -> None:
        await asyncio.to_thread(self._planner.memory.keep, decoded(arguments, KeepRequest))

    def _child(self, arguments: dict[str, Any]) -> AgentChild:
        """Raises HostLostError for one of an earlier agent."""
        child = self._children.get(arguments["id"])
        if child is None:
            raise HostLostError(f"the agent of {self._orders.name} has been started again")
        return child


class ChildOutput:
    """The last lines that no reader has taken yet. A slow reader loses the oldest."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._news = asyncio.Event()
        self._closed = False

    def add(self, line: str) -> None:
        self._lines.append(line)
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def take(self) -> list[str]:
        """The lines since the last call, as soon as there is one; empty at the end."""
        while not self._lines and not self._closed:
            self._news.clear()
            await self._news.wait()
        lines = list(self._lines)
        self._lines.clear()
        return lines


class AgentChild(NamedTuple):
    """A child, and what is not yet read of its output. `hurry` cuts the grace of its end short."""

    process: LocalChild
    output: ChildOutput
    hurry: asyncio.Event
