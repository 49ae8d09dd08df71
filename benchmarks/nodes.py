"""Engines on nodes of a cluster beside an engine of the gateway's machine, and many streams over three nodes.

The nodes are processes of this machine, so the network between them costs nothing. The engines are the tests' scripted
ones. Ray comes from this Python, or from where `make cluster` puts it.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from app.cli.node_start import own_address
from app.errors import NodeNotStartedError
from benchmarks.client import Client, get
from benchmarks.load import Load, Outcome, request_bytes
from benchmarks.processes import free_port, gateway_command, gateway_environment, running, until
from tests.support.gateway import fake_llama_server, header_only

ROOT = Path(__file__).parents[1]
NODES = ("node1", "node2", "node3")
STREAMS = int(os.environ.get("BENCH_STREAMS", "10000"))
EVENTS = 16
REQUESTS, CONNECTIONS, PROBES = 600, 16, 60
STREAM_CONNECTIONS = 60
_LOCAL = "local"
_UP_WITHIN_S = 180.0
_FIRST_PORT, _PORTS = 6400, 20


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """By model: requests per second, and the median time to the first event. `streams` are whole ones per second."""

    requests_per_second: dict[str, float]
    first_event: dict[str, float]
    streams_per_second: float


def measure(folder: Path) -> NodeFigures | str:
    """Returns why nothing can be measured, if so. Raises RuntimeError if a stream is lost."""
    packages = Path(os.environ.get("RAY_PACKAGES") or ROOT / ".cache" / "ray")
    if importlib.util.find_spec("ray") is None and not (packages / "ray").is_dir():
        return "Ray is not installed: run `make cluster` first"
    try:
        address = own_address()
    except NodeNotStartedError:
        return "this machine has no address"
    environment = gateway_environment() | {"PYTHONPATH": f"{ROOT}:{packages}", "BENCH_TOKEN": os.urandom(24).hex()}
    with ExitStack() as stack:
        port = stack.enter_context(_gateway(folder, address, environment))
        models = (_LOCAL, NODES[0])
        rates: dict[str, list[float]] = {model: [] for model in models}
        for _ in range(3):
            for model in models:
                rates[model].append(REQUESTS / _generate(Load(port, CONNECTIONS, REQUESTS, model=model)).seconds)
        return NodeFigures(
            {model: statistics.median(values) for model, values in rates.items()},
            _first_events(port, models),
            _streams(port),
        )


def _first_events(port: int, models: tuple[str, ...]) -> dict[str, float]:
    times: dict[str, list[float]] = {model: [] for model in models}
    requests = {model: request_bytes(port, events=4, model=model) for model in models}
    with Client(port) as client:
        for _ in range(PROBES):
            for model, request in requests.items():
                times[model].append(client.record(request).first_event)
    return {model: statistics.median(values) for model, values in times.items()}


def _streams(port: int) -> float:
    """Whole streams per second, over all nodes at once."""
    each = STREAMS // len(NODES)
    loads = [Load(port, STREAM_CONNECTIONS, each, EVENTS, model=node) for node in NODES]
    began = time.perf_counter()
    with ThreadPoolExecutor(len(loads)) as pool:
        whole = sum(outcome.requests for outcome in pool.map(_generate, loads))
    return whole / (time.perf_counter() - began)


def _generate(load: Load) -> Outcome:
    """Raises RuntimeError if an answer is not whole."""
    command = [sys.executable, "-m", "benchmarks.load", msgspec.json.encode(load).decode()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()}")
    return msgspec.json.decode(done.stdout, type=Outcome)


@contextmanager
def _gateway(folder: Path, address: str, environment: dict[str, str]) -> Iterator[int]:
    """The port of a gateway whose models are all loaded."""
    engine, model = fake_llama_server(folder), header_only(folder / "model.gguf")
    environment["TANDEM_LLAMA_SERVER"] = str(engine)
    head_port = free_port()
    entry: dict[str, Any] = {"target": {"path": str(model)}, "parallel": 2 * STREAM_CONNECTIONS}
    with ExitStack() as stack:
        where = f"{address}:{head_port}"
        for number, name in enumerate(("head", *NODES)):
            role = ("--join", where) if number else ("--head", "--port", str(head_port))
            stack.enter_context(_node(folder / name, environment, name, address, number, *role))
        port = free_port()
        settings = {
            "cluster": {"address": where, "token": "env:BENCH_TOKEN"},
            "models": {_LOCAL: entry | {"nodes": [_LOCAL]}} | {name: entry | {"nodes": [name]} for name in NODES},
            "max_loaded": 1,
            "llama_server": str(engine),
            "queue": 1000,
        }
        command = gateway_command(folder, port, **settings)
        server = stack.enter_context(running(command, port, env=environment))
        until(lambda: get(port, "/health") == 200, server)
        for name in (_LOCAL, *NODES):
            _wait_for(port, name)
        yield port


@contextmanager
def _node(
    folder: Path, environment: dict[str, str], name: str, address: str, number: int, *role: str
) -> Iterator[None]:
    folder.mkdir()
    first = _FIRST_PORT + number * _PORTS
    command = [sys.executable, "-P", "-m", "llama_tandem", "node", "start", "--name", name, "--address", address]
    command += ["--token", "env:BENCH_TOKEN", "--ports", f"{first}-{first + _PORTS - 1}", *role]
    folders = {"TANDEM_STATE_DIR": str(folder / "state"), "TANDEM_CACHE_DIR": str(folder / "cache")}
    with running(command, 0, env=environment | folders, cwd=folder):
        yield


def _wait_for(port: int, model: str) -> None:
    """Asks until the model's node is there and it answers."""
    end = time.monotonic() + _UP_WITHIN_S
    while True:
        with Client(port) as client:
            if client.record(request_bytes(port, model=model)).status == 200:
                return
        if time.monotonic() > end:
            raise RuntimeError(f"{model} does not answer")
        time.sleep(1)
