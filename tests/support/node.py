"""A node without Ray: an agent in the test's own event loop, reached by JSON as over the sidecar's socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from app.cluster.agent import Agent
from app.cluster.nodes import NodeFacts, NodeOrders
from app.cluster.remote import RemoteHost
from app.cluster.wire import decoded, decoded_error
from tests.support.ports import free_port


class DirectLink:
    """Answers at once, unless it is cut: then never."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.cut = False
        # Seconds before the agent gets a request, and before the gateway gets the answer
        self.late = (0.0, 0.0)
        # What the gateway has asked for
        self.asked: list[str] = []

    async def call(self, node: str, method: str, arguments: dict[str, Any]) -> Any:
        self.asked.append(method)
        await self._reach(self.late[0])
        answer = json.loads(json.dumps(await self.agent.call(method, json.loads(json.dumps(arguments)))))
        await self._reach(self.late[1])
        if "error" in answer:
            raise decoded_error(node, answer["error"])
        return answer["result"]

    async def lines(self, node: str, id: str, on_line: Callable[[str], None]) -> None:
        async for batch in self.agent.lines(id):
            await self._reach(0)
            for line in batch:
                on_line(line)

    async def _reach(self, after: float) -> None:
        if after:
            await asyncio.sleep(after)
        if self.cut:
            await asyncio.Event().wait()


async def a_node(*, lease: float = 60) -> tuple[RemoteHost, DirectLink]:
    """A node whose engines listen on loopback."""
    port = free_port()
    agent = Agent(NodeOrders("box1", "127.0.0.1", port, port + 4, lease))
    link = DirectLink(agent)
    facts = decoded(await link.call("box1", "hello", {}), NodeFacts)
    return RemoteHost(facts, link), link
