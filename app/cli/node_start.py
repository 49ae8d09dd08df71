"""`node start`: its options read, then the node kept running until a signal."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import typer

from app import logs
from app.cluster.node_leftovers import create_node_folder
from app.cluster.node_supervisor import NodeSupervisor
from app.cluster.ray_node import FEWEST_PORTS, RayNode
from app.config.cluster import check_address, check_ports, check_token, read_token
from app.config.files import PREFIX
from app.config.settings import Settings, load_settings
from app.config.sources import Sources
from app.errors import NodeNotStartedError, RayNotInstalledError
from app.terminal import say

T = TypeVar("T")

_NAME = re.compile(r"[\w.-]{1,63}")
# Some address beyond every local network; nothing is sent there
_ELSEWHERE = "192.0.2.1"


class NodeOptions(NamedTuple):
    """As on the command line."""

    head: bool
    join: str | None
    token: str | None
    name: str | None
    address: str | None
    port: int
    ports: str


def start_node(config: Path | None, options: NodeOptions) -> None:
    """Returns after SIGTERM or SIGINT. Raises ConfigError, RayNotInstalledError and NodeNotStartedError."""
    if options.head and options.join:
        raise typer.BadParameter("--head starts a new cluster and --join enters one: leave one of them out")
    ports = _checked("--ports", check_ports, options.ports)
    if ports.last - ports.first + 1 < FEWEST_PORTS:
        raise typer.BadParameter(f"--ports needs {FEWEST_PORTS} ports or more, such as 6400-6499")
    name = options.name or socket.gethostname()
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"--name {name!r} must be letters, digits, dots and hyphens, such as box1")
    settings, address = _settings_and_address(config, options)
    if importlib.util.find_spec("ray") is None:
        raise RayNotInstalledError("A node")
    logs.configure(settings.log_format, settings.log_level)
    cluster = settings.cluster
    assert cluster is not None
    node = RayNode(
        name,
        address,
        cluster.address,
        cluster.token.get_secret_value(),
        ports,
        create_node_folder(),
        settings.state_dir / "cluster" / "head" if options.head else None,
    )
    _hand_on(settings)
    asyncio.run(_run(node))


async def _run(node: RayNode) -> None:
    supervisor = NodeSupervisor(node, say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, supervisor.stop)
    await supervisor.run()


def _settings_and_address(config: Path | None, options: NodeOptions) -> tuple[Settings, str]:
    """Settings with a complete `cluster`, and this machine's address. Raises ConfigError and NodeNotStartedError."""
    written = Sources(config, {}, Settings).settings.get("cluster")
    written = written if isinstance(written, dict) else {}
    join = options.join if options.join is None or ":" in options.join else f"{options.join}:6379"
    if join is not None:
        _checked("--join", check_address, join)
    if options.token is not None:
        _checked("--token", check_token, options.token)
        _checked("--token", lambda token: read_token(token, os.environ), options.token)
    elif not written.get("token"):
        raise NodeNotStartedError(
            "A node needs the cluster's token: pass --token env:NAME or --token file:FILE, or set cluster.token."
        )
    given = {"token": options.token} if options.token is not None else {}
    if options.address is not None:
        _checked("--address", _check_own_address, options.address)
    address = options.address
    if options.head:
        address = address or own_address()
        given["address"] = f"{address}:{options.port}"
    elif join is not None:
        given["address"] = join
    elif not written.get("address"):
        raise NodeNotStartedError(
            "Name the head to join with --join ADDRESS, or start a new cluster with --head on this machine."
        )
    settings = load_settings(config, unset_keys=True, **({"cluster": given} if given else {}))
    assert settings.cluster is not None
    return settings, address or own_address(settings.cluster.address.rpartition(":")[0].strip("[]"))


def _check_own_address(address: str) -> None:
    """Raises ValueError for one that is not this machine's, or that others cannot reach."""
    try:
        parsed = ipaddress.ip_address(address)
        with socket.socket(socket.AF_INET6 if parsed.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except ValueError:
        raise ValueError(f"{address!r} must be an IP address, such as 10.0.0.11") from None
    except OSError:
        raise ValueError(f"{address} is no address of this machine") from None
    if parsed.is_loopback or parsed.is_unspecified:
        raise ValueError(f"{address} must be an address that other machines reach, such as 10.0.0.11")


def own_address(toward: str = _ELSEWHERE) -> str:
    """The address of this machine on the way to another, or to any. Raises NodeNotStartedError."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((toward, 9))
        return str(probe.getsockname()[0])
    raise NodeNotStartedError(
        f"This machine has no address towards {toward}: check the name, or pass its own address with --address."
    )


def _hand_on(settings: Settings) -> None:
    """Puts folders and engine where the agent looks for them: in the environment."""
    for field in ("models_dir", "state_dir", "cache_dir", "llama_server"):
        os.environ[f"{PREFIX}{field.upper()}"] = str(getattr(settings, field))


def _checked(option: str, check: Callable[[str], T], value: str) -> T:
    try:
        return check(value)
    except ValueError as error:
        raise typer.BadParameter(f"{option} {error}") from None
