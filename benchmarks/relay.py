"""What relaying costs: CPU by request and by streamed event, throughput, latency, memory; gateway and nginx by turns.

Turns are short and alternate, so that a noisy neighbour meets both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.client import Client
from benchmarks.load import Load, Outcome, request_bytes
from benchmarks.processes import Server, gateway, nginx, upstream

ROUNDS = 3
REQUESTS, CONNECTIONS = 6000, 32
STREAMS, STREAM_SECONDS, EVENTS_PER_SECOND = 64, 5, 50
UNPACED_STREAMS, UNPACED_EVENTS = 16, 4000
LATENCY_PROBES = 300


@dataclass(slots=True)
class Figures:
    """CPU in microseconds, TTFT in milliseconds over no proxy at all, memory in MiB after all of it."""

    cpu_per_request: float = 0.0
    requests_per_second: float = 0.0
    cpu_per_event: float = 0.0
    events_per_second: float = 0.0
    ttft_added_ms: float = 0.0
    rss_mib: float = 0.0


@dataclass(slots=True)
class _Turns:
    """CPU seconds, wall seconds and units of all turns of one kind."""

    cpu: float = 0.0
    wall: float = 0.0
    units: int = 0

    def add(self, server: Server, load: Load, units: int) -> None:
        before = server.cpu_seconds()
        outcome = _generate(load)
        self.cpu += server.cpu_seconds() - before
        self.wall += outcome.seconds
        self.units += units


@dataclass(slots=True)
class _Subject:
    server: Server
    requests: _Turns = field(default_factory=_Turns)
    paced: _Turns = field(default_factory=_Turns)
    unpaced: _Turns = field(default_factory=_Turns)
    first_events: list[float] = field(default_factory=list)

    def figures(self, bare_ttft: float) -> Figures:
        return Figures(
            cpu_per_request=self.requests.cpu / self.requests.units * 1e6,
            requests_per_second=self.requests.units / self.requests.wall,
            cpu_per_event=self.paced.cpu / self.paced.units * 1e6,
            events_per_second=self.unpaced.units / self.unpaced.wall,
            ttft_added_ms=(statistics.median(self.first_events) - bare_ttft) * 1e3,
            rss_mib=self.server.rss_mib(),
        )


def _generate(load: Load) -> Outcome:
    command = [sys.executable, "-m", "benchmarks.load", msgspec.json.encode(load).decode()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()}")
    return msgspec.json.decode(done.stdout, type=Outcome)


def measure(folder: Path) -> tuple[Figures, Figures | None]:
    """The gateway's and nginx's figures, None for nginx where it is not installed."""
    with upstream() as port, gateway(folder, port) as ours, nginx(folder, port) as theirs:
        subjects = [_Subject(ours)] + ([_Subject(theirs)] if theirs else [])
        for subject in subjects:  # connections, caches and lazily imported code
            _generate(Load(subject.server.port, CONNECTIONS, 500))
        for _ in range(ROUNDS):
            for subject in subjects:
                _turn(subject)
        bare = _latencies(subjects, port)
        figures = [subject.figures(bare) for subject in subjects]
    return figures[0], figures[1] if theirs else None


def _turn(subject: _Subject) -> None:
    port = subject.server.port
    subject.requests.add(subject.server, Load(port, CONNECTIONS, REQUESTS), REQUESTS)
    events = STREAM_SECONDS * EVENTS_PER_SECOND
    paced = Load(port, STREAMS, STREAMS, events, EVENTS_PER_SECOND)
    subject.paced.add(subject.server, paced, STREAMS * events)
    unpaced = Load(port, UNPACED_STREAMS, UNPACED_STREAMS, UNPACED_EVENTS)
    subject.unpaced.add(subject.server, unpaced, UNPACED_STREAMS * UNPACED_EVENTS)


def _latencies(subjects: list[_Subject], upstream_port: int) -> float:
    """Fills in each subject's times to the first event; returns the median without a proxy, in seconds."""
    bare: list[float] = []
    series = [(upstream_port, bare)] + [(subject.server.port, subject.first_events) for subject in subjects]
    clients = [(Client(port), request_bytes(port, events=4), times) for port, times in series]
    for _ in range(LATENCY_PROBES):
        for client, request, times in clients:
            times.append(client.record(request).first_event)
    for client, _, _ in clients:
        client.__exit__()
    return statistics.median(bare)
