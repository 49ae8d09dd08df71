"""The agent of a node as Ray's actor. The sidecar sends this class as code, so nodes of other versions can say theirs.

Its methods import what they need on the node: the node's `llama_tandem`, and the `app` beside that package.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.cluster.agent import Agent


class AgentActor:
    """Call `versions`, then `begin`, then the others."""

    def __init__(self) -> None:
        self._agent: Agent | None = None

    async def versions(self) -> dict[str, str]:
        """The versions that a node and its gateway share, and how the node's Ray checks tokens."""
        import os
        import platform
        from importlib import metadata

        installed = {"Python": platform.python_version(), "authentication": os.environ.get("RAY_AUTH_MODE", "")}
        for name, package in (("llama-tandem", "llama-tandem"), ("Ray", "ray")):
            try:
                installed[name] = metadata.version(package)
            except metadata.PackageNotFoundError:
                installed[name] = "0+unknown"
        return installed

    async def begin(self, orders: dict[str, Any]) -> None:
        """Creates the agent. Raises ImportError where llama-tandem is incomplete."""
        from llama_tandem import import_own_app

        import_own_app()
        from app.cluster.agent import Agent
        from app.cluster.nodes import NodeOrders

        self._agent = Agent(NodeOrders(**orders))

    async def call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self._agent is not None
        return await self._agent.call(method, arguments)

    async def lines(self, id: str) -> AsyncIterator[list[str]]:
        assert self._agent is not None
        async for batch in self._agent.lines(id):
            yield batch
