"""The nodes of the cluster: runs the sidecar, starts it again when it ends, and keeps a host for each node."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app import logs
from app.cluster.link import LINE_LIMIT, SidecarLink
from app.cluster.nodes import NodeFacts
from app.cluster.remote import RemoteHost
from app.cluster.sidecar_folder import SOCKET, create_sidecar_folder
from app.cluster.wire import decoded
from app.config.cluster import ClusterSettings
from app.errors import RayNotInstalledError
from app.supervisor.child import LocalChild

log = logs.get_logger("cluster")

# Between two tries of a sidecar
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 15.0
# Python and the import of Ray
_STARTED_WITHIN_S = 60.0
_LAST_LINES = 5
# What a process needs to find its modules and folders
_HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "TMPDIR", "RAY_TMPDIR", "LD_LIBRARY_PATH")


class Membership:
    """`hosts` are the nodes that take engines. `on_change` is called when they change, and `on_lost` for each loss."""

    def __init__(
        self, settings: ClusterSettings, on_change: Callable[[], None], on_lost: Callable[[RemoteHost], None]
    ) -> None:
        """`settings.token` is the token itself. Raises RayNotInstalledError."""
        if importlib.util.find_spec("ray") is None:
            raise RayNotInstalledError
        self.hosts: dict[str, RemoteHost] = {}
        # Why a node takes no engines, by name
        self.refused: dict[str, str] = {}
        # Why there are none; empty while the cluster is connected
        self.trouble = "not connected yet"
        self._settings = settings
        self._on_change = on_change
        self._on_lost = on_lost
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._link: SidecarLink | None = None
        self._running: asyncio.Task[None] | None = None
        # When it was opened, on the loop's clock
        self.opened = 0.0
        # Whether a sidecar has connected or failed
        self.tried = False
        # Set at each change, for callers that wait
        self.changed = asyncio.Event()

    def open(self) -> None:
        self.opened = asyncio.get_running_loop().time()
        self._running = asyncio.create_task(self._run_for_ever(), name="cluster")

    def fields(self) -> dict[str, Any]:
        """The nodes as JSON. `state` is `ready`, `suspect` (it answers late) or `refused`."""
        there: list[dict[str, Any]] = [
            {
                "name": host.name,
                "state": "suspect" if host.suspect else "ready",
                "address": host.facts.address,
                "engines": len(host.children),
                "llama_server": host.facts.engine,
                "why": "it answers late" if host.suspect else "",
            }
            for host in self.hosts.values()
        ]
        refused: list[dict[str, Any]] = [
            {"name": name, "state": "refused", "address": None, "engines": 0, "llama_server": None, "why": why}
            for name, why in self.refused.items()
        ]
        rows = sorted((*there, *refused), key=lambda row: row["name"])
        return {"address": self._settings.address, "trouble": self.trouble, "data": rows}

    async def close(self) -> None:
        """Ends the sidecar, and with it every agent and its engines."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _run_for_ever(self) -> None:
        delay = _FIRST_DELAY_S
        while True:
            began = asyncio.get_running_loop().time()
            before, trouble = self.trouble, await self._run_once()
            if trouble != before:
                log.warning(f"the cluster is not connected: {trouble}; engines run on this machine only")
            self.trouble, self.tried = trouble, True
            self._tell()
            long = asyncio.get_running_loop().time() - began > _LONGEST_DELAY_S
            delay = _FIRST_DELAY_S if long else min(2 * delay, _LONGEST_DELAY_S)
            await asyncio.sleep(delay)

    async def _run_once(self) -> str:
        """Runs a sidecar to its end; returns why it ended."""
        folder = create_sidecar_folder()
        connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        connected = asyncio.get_running_loop().create_future()

        def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if connected.done():
                writer.close()
            else:
                connected.set_result((reader, writer))

        server = await asyncio.start_unix_server(connect, folder / SOCKET, limit=LINE_LIMIT)
        sidecar = self._spawn(folder)
        try:
            gone = asyncio.ensure_future(sidecar.wait())
            waiting: set[asyncio.Future[Any]] = {connected, gone}
            await asyncio.wait(waiting, timeout=_STARTED_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
            if connected.done():
                await self._serve(SidecarLink(*connected.result(), self._heard))
            return self.trouble if connected.done() and self.trouble else self._why(sidecar)
        finally:
            self._lose_all("the connection to the cluster ended")
            sidecar.signal(signal.SIGKILL)
            await asyncio.shield(sidecar.wait())
            server.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _spawn(self, folder: Path) -> LocalChild:
        env = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        env |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._settings.token.get_secret_value(),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",
        }
        argv = (sys.executable, "-P", "-m", "llama_tandem.sidecar", str(folder / SOCKET))
        return LocalChild.spawn(argv, env, self._said, at=("", 0), folder=folder)

    async def _serve(self, link: SidecarLink) -> None:
        ports = self._settings.engine_ports
        self._link = link
        link.send(
            {
                "address": self._settings.address,
                "first_port": ports.first,
                "last_port": ports.last,
                "lease": self._settings.lease,
            }
        )
        await link.run()

    def _said(self, line: str) -> None:
        self._last_lines.append(line)
        log.debug(line)

    def _why(self, sidecar: LocalChild) -> str:
        said = next((line for line in reversed(self._last_lines) if line.strip()), "")
        return f"the sidecar ended: {said}" if said else "the sidecar ended"

    # -- events ------------------------------------------------------------------------------------------------------

    def _heard(self, event: dict[str, Any]) -> None:
        name = str(event.get("node"))
        match event["event"]:
            case "connected":
                self.trouble, self.tried = "", True
                log.info("connected to the cluster", address=self._settings.address)
            case "failed":
                self.trouble = str(event["why"])
            case "joined":
                self._joined(decoded(event["facts"], NodeFacts))
            case "refused":
                self.refused[name] = str(event["why"])
                log.warning(f"node {name} takes no engines: {event['why']}")
            case "gone":
                self.refused.pop(name, None)
            case "suspect" if name in self.hosts:
                self.hosts[name].suspect = True
            case "well" if name in self.hosts:
                self.hosts[name].suspect = False
            case "lost":
                self._lose(name, str(event["why"]))
        self._tell()

    def _joined(self, facts: NodeFacts) -> None:
        assert self._link is not None
        self.refused.pop(facts.name, None)
        self.hosts[facts.name] = RemoteHost(facts, self._link)
        log.info(f"node {facts.name} joined", address=facts.address, engine=facts.engine)

    def _lose(self, name: str, why: str) -> None:
        if (host := self.hosts.pop(name, None)) is not None:
            log.warning(f"node {name} is lost: {why}")
            host.lose(why)
            self._on_lost(host)

    def _lose_all(self, why: str) -> None:
        for name in tuple(self.hosts):
            self._lose(name, why)
        self._link = None
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
        self._on_change()
