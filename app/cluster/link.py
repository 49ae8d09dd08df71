"""The gateway's end of the sidecar's socket: calls to agents, and events of nodes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Protocol

from app.cluster.wire import decoded_error
from app.errors import HostLostError

# Of one message. A plan or a header is far smaller
LINE_LIMIT = 64 << 20


class NodeLink(Protocol):
    """Reaches agents by the names of their nodes. Methods raise HostLostError, and what the agent raises."""

    async def call(self, node: str, method: str, arguments: dict[str, Any]) -> Any:
        """Returns the result as JSON."""
        ...

    async def lines(self, node: str, id: str, on_line: Callable[[str], None]) -> None:
        """Passes the output of a child on, until it ends."""
        ...


class SidecarLink:
    """One connection. `on_event` gets each event of the sidecar."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_event: Callable[[dict[str, Any]], None]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._outputs: dict[int, Callable[[str], None]] = {}

    async def run(self) -> None:
        """Reads until the end of the connection. Calls that have no answer by then are lost."""
        try:
            with suppress(ConnectionError):
                while line := await self._reader.readline():
                    self._read(json.loads(line))
        finally:
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(HostLostError("the connection to the cluster ended"))
                    waiting.exception()  # Its caller may be gone

    def send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Ends the sidecar, and with it all agents and their engines."""
        self._writer.transport.abort()

    async def call(self, node: str, method: str, arguments: dict[str, Any]) -> Any:
        return await self._asked(node, method, arguments, None)

    async def lines(self, node: str, id: str, on_line: Callable[[str], None]) -> None:
        await self._asked(node, "lines", {"id": id}, on_line)

    async def _asked(
        self, node: str, method: str, arguments: dict[str, Any], on_line: Callable[[str], None] | None
    ) -> Any:
        if self._writer.is_closing():
            raise HostLostError(f"{node}: the connection to the cluster ended")
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        if on_line is not None:
            self._outputs[number] = on_line
        self.send({"id": number, "node": node, "method": method, "arguments": arguments})
        try:
            document = await answer
        finally:
            self._waiting.pop(number, None)
            self._outputs.pop(number, None)
        if "error" in document:
            raise decoded_error(node, document["error"])
        return document.get("result")

    def _read(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._on_event(message)
        elif "lines" in message:
            if (on_line := self._outputs.get(message["id"])) is not None:
                for line in message["lines"]:
                    on_line(line)
        elif (waiting := self._waiting.get(message["id"])) is not None and not waiting.done():
            waiting.set_result(message)
