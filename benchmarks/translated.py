"""What translating costs: CPU by streamed event of Responses and Messages, beside a stream that passes as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.load import PATH, Load
from benchmarks.processes import Server, gateway, upstream

PATHS = {"chat completions": PATH, "Messages": "/v1/messages", "Responses": "/v1/responses"}
ROUNDS = 3
STREAMS, STREAM_SECONDS, EVENTS_PER_SECOND = 64, 4, 50


def measure(folder: Path) -> dict[str, float]:
    """Microseconds of CPU per event, by API; turns alternate, so that a noisy neighbour meets all."""
    events = STREAM_SECONDS * EVENTS_PER_SECOND
    spent = dict.fromkeys(PATHS, 0.0)
    with upstream() as port, gateway(folder, port) as server:
        for path in PATHS.values():  # lazily imported code
            _turn(server, Load(server.port, 4, 8, 50, path=path))
        for _ in range(ROUNDS):
            for name, path in PATHS.items():
                spent[name] += _turn(server, Load(server.port, STREAMS, STREAMS, events, EVENTS_PER_SECOND, path))
    return {name: cpu / (ROUNDS * STREAMS * events) * 1e6 for name, cpu in spent.items()}


def _turn(server: Server, load: Load) -> float:
    before = server.cpu_seconds()
    command = [sys.executable, "-m", "benchmarks.load", msgspec.json.encode(load).decode()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()}")
    return server.cpu_seconds() - before
