"""The places of nodes: how many engines each may hold, and the node of each engine. Pure.

A node is a place in memory of its own, of which each engine needs one unit. So the policy makes room on a node as it
does on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

_PREFIX = "node "


def is_node_place(place: str) -> bool:
    return place.startswith(_PREFIX)


class NodeRoom(NamedTuple):
    """A node that can run an engine, and its free places."""

    name: str
    free: int


def choose_node(nodes: Iterable[NodeRoom], before: str) -> str:
    """The node for a start: with a free place, then where it ran `before` (page cache), then with the most room."""
    return min(nodes, key=lambda node: (node.free <= 0, node.name != before, -node.free, node.name)).name


class NodePlaces:
    """The nodes that are there, and the engines' nodes."""

    def __init__(self, most: Callable[[], int] = lambda: 1, up: Callable[[], Iterable[str]] = tuple) -> None:
        """`most` is the number of engines that a node may hold. `up` names the engines that hold memory now."""
        self._most = most
        self._up = up
        self._there: tuple[str, ...] = ()
        self._nodes: dict[str, str] = {}
        self._renewed: set[str] = set()

    def node_of(self, alias: str) -> str:
        """The node that an engine runs on or was planned for; empty for this machine."""
        return self._nodes.get(alias, "")

    def needs(self, alias: str) -> Mapping[str, int]:
        """Place -> units; empty for an engine of this machine."""
        return {f"{_PREFIX}{node}": 1} if (node := self.node_of(alias)) else {}

    def budgets(self) -> dict[str, int]:
        """Place -> units, for the nodes that are there."""
        most = self._most() if self._there else 0
        return {f"{_PREFIX}{node}": most for node in self._there}

    def be_there(self, names: Iterable[str]) -> None:
        """Replaces the nodes that are there."""
        self._there = tuple(sorted(names))

    def place(self, alias: str, names: Iterable[str]) -> str:
        """Chooses one of these nodes for the next start of `alias`."""
        up = [other for other in self._up() if other != alias]
        taken = [self.node_of(other) for other in up]
        rooms = [NodeRoom(name, self._most() - taken.count(name)) for name in names]
        node = choose_node(rooms, self.node_of(alias))
        if self._nodes.get(alias) != node:
            self._nodes[alias] = node
            self._renewed.add(alias)
        return node

    def here(self, alias: str) -> None:
        """Records that `alias` runs on this machine from now on."""
        if self._nodes.pop(alias, None) is not None:
            self._renewed.add(alias)

    def renewed(self) -> set[str]:
        """The aliases whose nodes have changed since the last call."""
        renewed, self._renewed = self._renewed, set()
        return renewed
