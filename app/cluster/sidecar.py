"""The process that speaks Ray: `python -P -m llama_tandem.sidecar SOCKET`, started by the gateway in an empty folder.

Ray ends the process of a driver whose cluster's head is lost, so the gateway itself never imports it. Messages on the
Unix socket are JSON, one per line:

    gateway: {"address": ..., "first_port": ..., "last_port": ..., "lease": ...}    once
    gateway: {"id": 7, "node": "box1", "method": "spawn", "arguments": {...}}
    sidecar: {"id": 7, "result": ...}, or {"id": 7, "error": {...}}; before it {"id": 7, "lines": [...]} for `lines`
    sidecar: {"event": "connected"}, {"event": "failed", "why": ...}
    sidecar: {"event": "joined", "node": "box1", "facts": {...}}, {"event": "refused", "node": "box1", "why": ...}
    sidecar: {"event": "gone", "node": "box1"}, of one that was refused
    sidecar: {"event": "suspect", "node": "box1"}, {"event": "well", "node": "box1"}
    sidecar: {"event": "lost", "node": "box1", "why": ...}

Agents live as long as this process, and it lives as long as the socket. Then it removes the socket's folder.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from app.cluster import actor
from app.cluster.actor import AgentActor
from app.cluster.heartbeat import BEAT_S, LOST_AFTER_S, Heartbeat, NodeHealth
from app.cluster.link import LINE_LIMIT
from app.cluster.local_raylet import LocalRaylet, local_raylet
from app.cluster.nodes import NodeOrders, differences, lost_error
from app.cluster.roster import ListedNode, Roster
from app.cluster.socket_watch import end_with
from app.engine.parent_death import untie_from_parent

_LOOK_S = 1.0
# An agent is a new process, which imports the gateway's modules
_FIRST_ANSWER_S = 60.0
# Of the head's port, and of Ray
_HEAD_ANSWERS_S, _JOINED_WITHIN_S = 5.0, 60.0


class ClusterNode:
    """An agent on one node, and whether it answers."""

    def __init__(self, name: str, node_id: str, orders: NodeOrders) -> None:
        self.name = name
        self.node_id = node_id
        self.joined = False
        self._orders = orders
        options = {
            "num_cpus": 0,
            "max_concurrency": 1000,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
        }
        self.actor = ray.remote(AgentActor).options(**options).remote()

    async def versions(self) -> dict[str, str]:
        """Of its packages. Waits for the agent's process. Raises RayError."""
        answer: dict[str, str] = await asyncio.wrap_future(self.actor.versions.remote().future())
        return answer

    async def begin(self) -> None:
        """Raises RayError."""
        await asyncio.wrap_future(self.actor.begin.remote(asdict(self._orders)).future())

    async def call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Raises RayError."""
        answer = self.actor.call.remote(method, arguments)
        result: dict[str, Any] = await asyncio.wrap_future(answer.future())
        return result

    async def lines(self, id: str) -> AsyncIterator[list[str]]:
        """Raises RayError."""
        async for batch in self.actor.lines.options(num_returns="streaming").remote(id):
            yield await batch

    def end(self) -> None:
        """Kills the agent, and with it the engines of the node."""
        with suppress(Exception):
            ray.kill(self.actor)


class Sidecar:
    """Serves one gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, terms: dict[str, Any]) -> None:
        self._reader = reader
        self._writer = writer
        self._terms = terms
        # Of this machine
        self._versions: dict[str, str] = {}
        self._nodes: dict[str, ClusterNode] = {}
        self._roster = Roster()
        # Names by Ray's id: of other versions; and with another's name, which they may get later
        self._refused: dict[str, str] = {}
        self._rivals: dict[str, str] = {}
        # The loop keeps only weak references to tasks
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Returns when the gateway closes the socket."""
        self._versions = await AgentActor().versions()
        self._do(self._watch_nodes())
        while line := await self._reader.readline():
            self._do(self._serve(json.loads(line)))

    def _do(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def _serve(self, request: dict[str, Any]) -> None:
        node = self._nodes.get(request["node"])
        if node is None:
            self._send({"id": request["id"], "error": lost_error(request["node"], "it is not in the cluster")})
            return
        try:
            if request["method"] == "lines":
                async for batch in node.lines(request["arguments"]["id"]):
                    self._send({"id": request["id"], "lines": batch})
                    await self._writer.drain()
                self._send({"id": request["id"], "result": None})
            else:
                self._send({"id": request["id"]} | await node.call(request["method"], request["arguments"]))
        except RayError as error:
            self._lose(node, _words(error))
            self._send({"id": request["id"], "error": lost_error(node.name, _words(error))})

    # -- nodes -------------------------------------------------------------------------------------------------------

    async def _watch_nodes(self) -> None:
        own = ray.get_runtime_context().get_node_id()
        while True:
            # It blocks while the head is away
            rows = [row for row in await asyncio.to_thread(ray.nodes) if row["Alive"] and row["NodeID"] != own]
            listed = [ListedNode(row["NodeName"], row["NodeID"], row["NodeManagerAddress"]) for row in rows]
            self._forget_refused({node.id for node in listed})
            self._look([node for node in listed if node.id not in self._refused])
            await asyncio.sleep(_LOOK_S)

    def _forget_refused(self, alive: set[str]) -> None:
        for names in (self._refused, self._rivals):
            for id in names.keys() - alive:
                self._send({"event": "gone", "node": names.pop(id)})

    def _look(self, listed: list[ListedNode]) -> None:
        serving = {name: node.node_id for name, node in self._nodes.items()}
        joined = {name for name, node in self._nodes.items() if node.joined}
        meet, rivals = self._roster.look(listed, serving, joined, asyncio.get_running_loop().time())
        for node in meet:
            if (earlier := self._nodes.get(node.name)) is not None:
                self._lose(earlier, "it has been started again")
            terms = self._terms
            orders = NodeOrders(node.name, node.address, terms["first_port"], terms["last_port"], terms["lease"])
            self._rivals.pop(node.id, None)
            met = self._nodes[node.name] = ClusterNode(node.name, node.id, orders)
            self._do(self._live(met))
        for node in rivals:
            if node.id not in self._rivals:
                self._rivals[node.id] = node.name
                why = f"another node has the name {node.name}; give each its own (--name)"
                self._send({"event": "refused", "node": node.name, "why": why})

    async def _live(self, node: ClusterNode) -> None:
        """Waits for the agent, then beats until it is lost."""
        try:
            if wrong := differences(await asyncio.wait_for(node.versions(), _FIRST_ANSWER_S), self._versions):
                self._part(node, wrong)
                return
            await asyncio.wait_for(node.begin(), _FIRST_ANSWER_S)
            answer = await asyncio.wait_for(node.call("hello", {}), _FIRST_ANSWER_S)
            if "error" in answer:
                self._part(node, answer["error"]["message"])
                return
            node.joined = True
            self._send({"event": "joined", "node": node.name, "facts": answer["result"]})
            await self._beat(node)
        except TimeoutError:
            self._lose(node, f"its agent has not answered within {_FIRST_ANSWER_S:g} s")
        except RayError as error:
            self._lose(node, _words(error))

    async def _beat(self, node: ClusterNode) -> None:
        """Beats until the node is given up."""
        now = asyncio.get_running_loop().time
        heartbeat, health = Heartbeat(now()), NodeHealth.WELL
        while self._nodes.get(node.name) is node:
            self._do(self._beat_once(node, heartbeat))
            await asyncio.sleep(BEAT_S)
            before, health = health, heartbeat.look(now())
            if health is NodeHealth.LOST:
                self._lose(node, f"it has not answered for {LOST_AFTER_S:g} s")
            elif health is not before:
                self._send({"event": str(health), "node": node.name})

    async def _beat_once(self, node: ClusterNode, heartbeat: Heartbeat) -> None:
        try:
            await node.call("beat", {})
        except RayError as error:
            self._lose(node, _words(error))
        heartbeat.answer(asyncio.get_running_loop().time())

    def _part(self, node: ClusterNode, why: str) -> None:
        self._nodes.pop(node.name, None)
        node.end()
        self._refuse(node.name, node.node_id, why)

    def _refuse(self, name: str, node_id: str, why: str) -> None:
        self._refused[node_id] = name
        self._send({"event": "refused", "node": name, "why": why})

    def _lose(self, node: ClusterNode, why: str) -> None:
        """Gives a node up. If it still lives, it gets a new agent, which has no engines."""
        if self._nodes.get(node.name) is node:
            del self._nodes[node.name]
            self._send({"event": "lost", "node": node.name, "why": why})
            # Blocks while the node is away
            self._do(asyncio.to_thread(node.end))


def _words(error: Exception) -> str:
    """What an error of Ray means, or the first line of its long message."""
    if isinstance(error, ActorUnavailableError):
        return "it does not answer"
    if isinstance(error, ActorDiedError):
        return "its agent died"
    if isinstance(error, RayTaskError) and (cause := getattr(error, "cause", None)) is not None:
        return f"{type(cause).__name__}: {cause}"
    return str(error).strip().partition("\n")[0].strip().rstrip(".:") or type(error).__name__


async def join(address: str) -> str:
    """Joins the cluster; returns why it cannot, or an empty text."""
    host, _, port = address.rpartition(":")
    try:
        # Ray itself tries an absent head for minutes
        _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), _HEAD_ANSWERS_S)
        writer.close()
    except TimeoutError:
        return f"{address} does not answer"
    except OSError as error:
        return f"{address} does not answer: {os.strerror(error.errno) if error.errno else error}"
    if (node := await asyncio.to_thread(local_raylet, address)) is None:
        return f"this machine is no node of the cluster; start one: llama-tandem node start --join {address}"
    try:
        await asyncio.wait_for(asyncio.to_thread(_connect, address, node), _JOINED_WITHIN_S)
    except Exception as error:
        why = f"Ray says nothing for {_JOINED_WITHIN_S:g} s" if isinstance(error, TimeoutError) else _words(error)
        return f"{why}. Check that the token is the cluster's"
    return ""


def _connect(address: str, node: LocalRaylet) -> None:
    """Raises whatever Ray raises."""
    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}
    ray.init(address=address, _node_ip_address=node.address, _temp_dir=node.folder, **quiet)


async def serve(path: str) -> None:
    """Serves the gateway at this socket until it closes the socket."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LINE_LIMIT)
    end_with(writer.get_extra_info("socket").fileno(), Path(path).parent)
    untie_from_parent()
    terms = json.loads(await reader.readline())
    if why := await join(terms["address"]):
        writer.write(json.dumps({"event": "failed", "why": why}).encode() + b"\n")
        await writer.drain()
        os._exit(1)
    writer.write(b'{"event": "connected"}\n')
    with suppress(ConnectionError):
        await Sidecar(reader, writer, terms).run()
    # The thread that watches the socket ends the process
    await asyncio.Event().wait()


def run(path: str) -> None:
    """Never returns."""
    # As code, since a node may have another version, or another project's `app` first
    ray.cloudpickle.register_pickle_by_value(actor)
    asyncio.run(serve(path))
