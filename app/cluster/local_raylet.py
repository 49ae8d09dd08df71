"""Finds the node of this machine that the sidecar attaches to, by the command lines of its processes.

Ray itself takes any node whose processes it sees, the head first, even one of another container with another address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import psutil


class LocalRaylet(NamedTuple):
    """The process of a node: its address, the folder of its sockets, its cluster's head, and whether it is the head."""

    address: str
    folder: str
    head: str
    is_head: bool

    @classmethod
    def of(cls, argv: Sequence[str]) -> LocalRaylet | None:
        """Of a command line, if it is a raylet's."""
        if not argv or not argv[0].endswith("/raylet"):
            return None
        flags = dict(word.removeprefix("--").split("=", 1) for word in argv[1:] if "=" in word)
        try:
            return cls(flags["node_ip_address"], flags["temp_dir"], flags["gcs-address"], "--head" in argv)
        except KeyError:
            return None


def choose_raylet(raylets: Iterable[LocalRaylet], head: str, own: Collection[str]) -> LocalRaylet | None:
    """The node of the cluster at `head` with one of our `own` addresses.

    One that is not the head comes first, since it stays when the head is restarted. A head may be known by a name, so
    without a node of exactly this head, any will do.
    """
    ours = sorted((raylet for raylet in raylets if raylet.address in own), key=lambda raylet: raylet.is_head)
    return next((raylet for raylet in ours if raylet.head == head), ours[0] if ours else None)


def local_raylet(head: str) -> LocalRaylet | None:
    """The node to attach to. Reads the command line of each process."""
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return choose_raylet(_raylets(), head, own)


def _raylets() -> Iterator[LocalRaylet]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (raylet := LocalRaylet.of(process.cmdline())) is not None:
                yield raylet
