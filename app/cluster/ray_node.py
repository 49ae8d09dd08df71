"""The Ray node of this machine: the command that starts it, its environment, and what its output means. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.config.cluster import PortRange

# Ports before those of workers: node manager, object manager, runtime environments, two of the agent, metrics
FIXED_PORTS = 6
# The gateway's sidecar is a worker, and so is each agent
FEWEST_PORTS = FIXED_PORTS + 4
# Ray's least, which nothing uses: tokens and files never pass through Ray
_OBJECT_STORE_BYTES = 80_000_000
STARTED = "Ray runtime started"
_VERSIONS = re.compile(r"Version mismatch.*?Ray: (\S+)\s+Python: (\S+).*?Ray: (\S+)\s+Python: (\S+)", re.DOTALL)
_TOKEN_WORDS = ("InvalidAuthToken", "Unauthenticated", "authentication token")
# The beginning of a line of `ray start`
_PREFIX = re.compile(r"^[\d-]+ [\d:,]+\s+[A-Z]+ \S+ -- ")
_EXITED = re.compile(r"^(\w+) \[exit code[= ]*(-?\d+)")
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)|^Error: (.+)")


@dataclass(frozen=True, slots=True)
class RayNode:
    """`address` is this machine's own; `head` is `ADDRESS:PORT` of the cluster's. `folder` is for sockets and logs.

    A head has a `store`, in which it keeps its nodes over a restart.
    """

    name: str
    address: str
    head: str
    token: str
    ports: PortRange
    folder: Path
    store: Path | None = None

    @property
    def is_head(self) -> bool:
        return self.store is not None

    @property
    def head_port(self) -> int:
        return int(self.head.rpartition(":")[2])

    @property
    def fixed_ports(self) -> tuple[int, ...]:
        """Those that must be free at the start."""
        fixed = tuple(range(self.ports.first, self.ports.first + FIXED_PORTS))
        return (self.head_port, *fixed) if self.is_head else fixed

    def argv(self) -> tuple[str, ...]:
        """`ray start`, which ends with the node."""
        manager, objects, environments, listen, grpc, metrics = range(self.ports.first, self.ports.first + FIXED_PORTS)
        role = (
            ("--head", f"--port={self.head_port}", "--include-dashboard=false", "--no-monitor")
            if self.is_head
            else (f"--address={self.head}",)
        )
        return (
            *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *role),
            *(f"--node-name={self.name}", f"--node-ip-address={self.address}", f"--temp-dir={self.folder}"),
            *("--num-cpus=0", "--num-gpus=0", f"--object-store-memory={_OBJECT_STORE_BYTES}"),
            *("--include-log-monitor=false", f"--node-manager-port={manager}", f"--object-manager-port={objects}"),
            *(f"--runtime-env-agent-port={environments}", f"--dashboard-agent-listen-port={listen}"),
            *(f"--dashboard-agent-grpc-port={grpc}", f"--metrics-export-port={metrics}"),
            *(f"--min-worker-port={metrics + 1}", f"--max-worker-port={self.ports.last}"),
        )

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Of `ray start`, and so of the agent."""
        env = {name: value for name, value in environ.items() if name not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH")}
        env |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            # It kills workers on a full machine, and here the worker is the agent of all engines
            "RAY_memory_monitor_refresh_ms": "0",
            "PYTHONUNBUFFERED": "1",
        }
        if self.store is not None:
            env |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(self.store)}
        return env


def refusal(lines: Sequence[str]) -> str:
    """Why the cluster can never take this node, by the output of `ray start`; empty if a later try may work."""
    text = "\n".join(lines)
    if versions := _VERSIONS.search(text):
        ray, python, own_ray, own_python = versions.groups()
        pairs = (("Ray", own_ray, ray), ("Python", own_python, python))
        wrong = " and ".join(f"{name} {own} instead of {other}" for name, own, other in pairs if own != other)
        return f"it has {wrong}, which the head has; install the same version on both"
    if any(word in text for word in _TOKEN_WORDS):
        return "the head refuses the token; every machine of a cluster needs the same one"
    return ""


def last_words(lines: Sequence[str]) -> str:
    """The process that ended, or the last error, in the output of `ray start`; else its last line."""
    plain = [_PREFIX.sub("", line).strip() for line in lines]
    if exits := [match for line in plain if (match := _EXITED.match(line))]:
        return f"its {exits[-1][1]} ended with {exits[-1][2]}"
    for line in reversed(plain):
        if match := _ERROR.match(line):
            return match[1] or match[2]
    return next((line for line in reversed(plain) if line), "it said nothing")
