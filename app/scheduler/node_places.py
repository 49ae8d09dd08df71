"""The machines of a cluster: which are there, and where each engine may start, runs, and ran. Pure.

Each machine has a place in memory of its own, of which each engine there needs one unit. So the policy makes room on a
machine as it does on a device. The other places have the machine's name before their own: `box1/CUDA0`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from app.engine.footprint.footprint import HOST
from app.scheduler.snapshot import HostOffer, HostView

_PREFIX = "node "
_HOST_MEMORY = f"/{HOST}"
# The machines on which an engine ran that are remembered
_KEPT = 4


def is_node_place(place: str) -> bool:
    return place.startswith(_PREFIX)


def is_host_memory(place: str) -> bool:
    """Whether it is the memory of a machine itself, not of a device."""
    return place == HOST or place.endswith(_HOST_MEMORY)


def node_place(node: str) -> str:
    """The place in memory of which each engine of a machine needs one unit."""
    return f"{_PREFIX}{node}"


def on_node(node: str, needs: Mapping[str, int]) -> dict[str, int]:
    """The needs of an engine on a machine: places with its name, and one unit of the machine's own."""
    return {node_place(node): 1} | places_on(node, needs)


def places_on(node: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """The places of a machine, with its name."""
    return {f"{node}/{place}": size for place, size in sizes.items()}


def may_run_on(machine: str, patterns: Sequence[str]) -> bool:
    """Whether an entry's `nodes` name this machine. Without any it may run on each."""
    return not patterns or any(fnmatchcase(machine, pattern) for pattern in patterns)


@dataclass(slots=True)
class EngineHosts:
    """The machines of one engine. `offers` are by machine, `ran_on` has the last one first.

    `node` is the one that it runs on, failed on, or gets room on; `chosen` the one that it is being started on.
    `failed` has the cause of each machine on which it cannot start, as a start has shown.
    """

    offers: Mapping[str, HostOffer] = field(default_factory=dict)
    ran_on: tuple[str, ...] = ()
    node: str = ""
    chosen: str = ""
    failed: dict[str, str] = field(default_factory=dict)


# Of engines that no machine was asked about
_NOWHERE = EngineHosts()


class NodePlaces:
    """The machines that are there, and each engine's own. Without a cluster there are none."""

    def __init__(self, most: Callable[[str], int | None] = lambda _: 1) -> None:
        """`most` is the number of engines that a machine may hold, None if its memory alone decides."""
        self._most = most
        self._there: dict[str, HostView] = {}
        self._engines: dict[str, EngineHosts] = {}
        self._renewed: set[str] = set()

    @property
    def hosts(self) -> Mapping[str, HostView]:
        return self._there

    def be_there(self, hosts: Iterable[HostView]) -> None:
        """Replaces the machines that are there."""
        self._there = {host.name: host for host in hosts}

    def budgets(self) -> dict[str, int]:
        """Place -> units, for the machines that are there and hold a limited number of engines."""
        most = ((name, self._most(name)) for name in self._there)
        return {node_place(name): number for name, number in most if number is not None}

    def of(self, alias: str) -> EngineHosts:
        return self._engines.get(alias, _NOWHERE)

    def node_of(self, alias: str) -> str:
        """The machine that an engine runs on, or is to start on; empty if there is only this one."""
        return self.of(alias).node

    def chosen(self, alias: str) -> str:
        """The machine that an engine is being started on; empty if none is chosen yet."""
        return self.of(alias).chosen

    def offered(self, alias: str, offers: Iterable[HostOffer]) -> None:
        """Replaces what the machines say of an engine."""
        by_host = {offer.host: _with_place(offer) for offer in offers}
        known = self._engines.setdefault(alias, EngineHosts())
        if known.offers != by_host:
            known.offers = by_host
            self._renewed.add(alias)

    def starts_on(self, alias: str, host: str) -> None:
        """Records the choice of a machine."""
        known = self._engines.setdefault(alias, EngineHosts())
        known.node = known.chosen = host
        known.ran_on = (host, *(name for name in known.ran_on if name != host))[:_KEPT]
        self._renewed.add(alias)

    def makes_room(self, alias: str, host: str) -> None:
        """Records that an engine leaves `host` for `alias`, which is not up."""
        self._engines.setdefault(alias, EngineHosts()).node = host
        self._renewed.add(alias)

    def ended(self, alias: str, *, stopped: bool) -> None:
        """Records the end of a process, or of a start. One that is not `stopped` has failed on its machine."""
        if (known := self._engines.get(alias)) is not None:
            known.chosen = ""
            known.node = "" if stopped else known.node
            self._renewed.add(alias)

    def failed(self, alias: str, why: str) -> None:
        """Records that a start would fail again on its machine. Others come first from now on."""
        if (known := self._engines.get(alias)) is not None and known.node:
            known.failed[known.node] = why

    def try_again(self, alias: str) -> None:
        """Forgets these failures."""
        if (known := self._engines.get(alias)) is not None:
            known.failed.clear()

    def forget(self, alias: str) -> None:
        self._engines.pop(alias, None)

    def renewed(self) -> set[str]:
        """The aliases whose machines have changed since the last call."""
        renewed, self._renewed = self._renewed, set()
        return renewed


def _with_place(offer: HostOffer) -> HostOffer:
    """With the needs as the policy names them. They are so in an offer that was recorded before."""
    named = node_place(offer.host) in offer.needs
    return offer if named else offer._replace(needs={} if offer.refusal else on_node(offer.host, offer.needs))
