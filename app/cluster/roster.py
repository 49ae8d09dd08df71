"""Decides which nodes of Ray's list the sidecar meets. Pure.

Names are unique for the gateway, not for Ray. A node that is started again has a new id, and Ray lists the old one for
another 15 s: the newcomer takes its name over at once if the old one does not answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

# Longer than Ray takes to notice that a node is gone
_RIVAL_AFTER_S = 20.0


class ListedNode(NamedTuple):
    """A node that Ray takes for alive."""

    name: str
    id: str
    address: str


class Roster:
    """`look` is called with each list. Times are in seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._met: set[str] = set()
        # Nodes whose name another one has, since when
        self._rivals: dict[str, float] = {}

    def look(
        self, listed: Iterable[ListedNode], serving: Mapping[str, str], joined: Collection[str], now: float
    ) -> tuple[list[ListedNode], list[ListedNode]]:
        """Returns nodes to meet, and nodes to refuse, since another one has kept their name for long.

        `serving` are the ids by name that have an agent; those of the names in `joined` have answered.
        """
        meet: dict[str, ListedNode] = {}
        refuse: list[ListedNode] = []
        # Nodes that were given up come last
        for node in sorted(listed, key=lambda node: node.id in self._met):
            holder = meet[node.name].id if node.name in meet else serving.get(node.name)
            if holder == node.id:
                continue
            if holder is None or (node.name not in joined and node.name not in meet and node.id not in self._met):
                meet[node.name] = node
            elif now - self._rivals.setdefault(node.id, now) > _RIVAL_AFTER_S and holder not in self._rivals:
                refuse.append(node)
        for node in meet.values():
            self._met.add(node.id)
            self._rivals.pop(node.id, None)
        return list(meet.values()), refuse
