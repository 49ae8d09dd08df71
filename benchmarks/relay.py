"""What relaying costs, in rounds: every proxy has its turn in each, so that a noisy neighbour meets them all.

CPU and instructions by request and by streamed event, throughput, latency and memory. The proxies are the gateway,
nginx, and others that the command line names.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.client import Client
from benchmarks.instructions import counted
from benchmarks.load import Load, Outcome, request_bytes
from benchmarks.processes import Server, gateway, llama_swap, nginx, other_proxy, upstream
from benchmarks.rounds import Rounds

GATEWAY, NGINX, LLAMA_SWAP = "gateway", "nginx", "llama-swap"
ROUNDS = 4
REQUESTS, CONNECTIONS = 4000, 32
STREAMS, STREAM_SECONDS, EVENTS_PER_SECOND = 64, 5, 50
UNPACED_STREAMS, UNPACED_EVENTS = 16, 3000
LATENCY_PROBES = 100


@dataclass(frozen=True, slots=True)
class Proxies:
    """What is measured beside the gateway and nginx: llama-swap's binary, and commands by name."""

    llama_swap: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """The figures of each proxy, and the load average at the beginning of each round."""

    rounds: int
    loads: list[float] = field(default_factory=list)
    proxies: dict[str, Rounds] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        return {"loads": self.loads, "proxies": {name: rounds.fields() for name, rounds in self.proxies.items()}}


def measure(folder: Path, proxies: Proxies, rounds: int = ROUNDS) -> Report:
    """The figures. A proxy that is not installed, nginx included, has none."""
    report = Report(rounds)
    with upstream() as port, _servers(folder, port, proxies) as servers:
        for name, server in servers.items():  # connections, caches and lazily imported code
            report.proxies[name] = Rounds()
            _generate(Load(server.port, CONNECTIONS, 500))
        names = list(servers)
        for number in range(rounds):
            report.loads.append(psutil.getloadavg()[0])
            turn = number % len(names)
            # Each proxy is the first of a round as often as the others
            for name in names[turn:] + names[:turn]:
                report.proxies[name].add(_turn(servers[name]))
            for name, added in _latencies(servers, port).items():
                report.proxies[name].add({"ttft_added_ms": added * 1e3})
        for name, server in servers.items():
            report.proxies[name].add({"rss_mib": server.rss_mib()})
    return report


@contextmanager
def _servers(folder: Path, port: int, proxies: Proxies) -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        servers = {GATEWAY: stack.enter_context(gateway(folder, port))}
        if (server := stack.enter_context(nginx(folder, port))) is not None:
            servers[NGINX] = server
        if proxies.llama_swap is not None:
            servers[LLAMA_SWAP] = stack.enter_context(llama_swap(proxies.llama_swap, folder, port))
        for name, command in proxies.others.items():
            servers[name] = stack.enter_context(other_proxy(command, port))
        yield servers


def _generate(load: Load) -> Outcome:
    command = [sys.executable, "-m", "benchmarks.load", msgspec.json.encode(load).decode()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()}")
    return msgspec.json.decode(done.stdout, type=Outcome)


def _turn(server: Server) -> dict[str, float | None]:
    events = STREAM_SECONDS * EVENTS_PER_SECOND
    paced = Load(server.port, STREAMS, STREAMS, events, EVENTS_PER_SECOND)
    unpaced = Load(server.port, UNPACED_STREAMS, UNPACED_STREAMS, UNPACED_EVENTS)
    return {
        **_cost(server, "request", Load(server.port, CONNECTIONS, REQUESTS), REQUESTS),
        **_cost(server, "event", paced, STREAMS * events),
        **_cost(server, "unpaced_event", unpaced, UNPACED_STREAMS * UNPACED_EVENTS),
    }


def _cost(server: Server, unit: str, load: Load, units: int) -> dict[str, float | None]:
    """CPU in microseconds and instructions by unit, and units by second."""
    before = server.cpu_seconds()
    with counted(server.pids()) as count:
        outcome = _generate(load)
    return {
        f"cpu_us_per_{unit}": (server.cpu_seconds() - before) / units * 1e6,
        f"instructions_per_{unit}": None if count.instructions is None else count.instructions / units,
        f"{unit}s_per_second": units / outcome.seconds,
    }


def _latencies(servers: Mapping[str, Server], upstream_port: int) -> dict[str, float]:
    """Seconds to the first event of each proxy, over those of no proxy at all: medians of probes by turns."""
    ports = {"": upstream_port} | {name: server.port for name, server in servers.items()}
    times: dict[str, list[float]] = {name: [] for name in ports}
    with ExitStack() as stack:
        clients = {name: stack.enter_context(Client(port)) for name, port in ports.items()}
        requests = {name: request_bytes(port, events=4) for name, port in ports.items()}
        for _ in range(LATENCY_PROBES):
            for name, client in clients.items():
                times[name].append(client.record(requests[name]).first_event)
    bare = statistics.median(times.pop(""))
    return {name: statistics.median(values) - bare for name, values in times.items()}
