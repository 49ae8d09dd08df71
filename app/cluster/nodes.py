"""Records of an agent: the facts of its node, and what it needs to begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeOrders:
    """How an agent is to run: the node's name and address, ports for engines, and seconds without a beat."""

    name: str
    address: str
    first_port: int
    last_port: int
    lease: float


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node: its name and address, the version of its llama-tandem and Python, its llama-server and `state_dir`."""

    name: str
    address: str
    version: str
    python: str
    engine: str
    state_dir: str = ""


@dataclass(frozen=True, slots=True)
class StartedChild:
    """A child on a node."""

    pid: int
    port: int
    base_url: str


def differences(versions: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Says why a node with these `AgentActor.versions` takes no engines, as the gateway has others; else empty."""
    wrong = [
        f"{name} {versions.get(name, 'of an unknown version')} instead of {version}"
        for name, version in wanted.items()
        if name != "authentication" and versions.get(name) != version
    ]
    if wrong:
        return f"it has {' and '.join(wrong)}; install the same version on both"
    if versions.get("authentication") != "token":
        return "its Ray accepts programs without a token; start it with `llama-tandem node start`"
    return ""


def lost_error(name: str, why: str) -> dict[str, Any]:
    """HostLostError as JSON."""
    reason = f"{name}: {why}"
    return {
        "kind": "HostLostError",
        "message": f"The engine's machine is lost: {reason}.",
        "fields": {"reason": reason},
    }
