"""Chooses the machine for a start. Pure.

A machine can start an engine if it is live and its own planner accepts the entry: the files are there, and the build
knows the architecture. A machine without a device for the engine is left out while another one has it. Among the
others comes first

(1) one with room now: where the engine ran last (page cache), then the one with the most free memory. Where about as
    much is free, the one with the fewest engines;
(2) one with room once a load onto the same device is over;
(3) one with room once the engines that are leaving have gone;
(4) one where engines may leave for it now: where that costs least;
(5) one where they may leave later;
(6) one that a request before it waits for;
(7) one that pinned engines fill, or that is too small.

The policy then decides as on a single machine. So it refuses a request only if no machine can help.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from heapq import nsmallest
from typing import NamedTuple

from app.scheduler.eviction import Eviction
from app.scheduler.node_places import is_host_memory, is_node_place
from app.scheduler.room import Room, StartAt
from app.scheduler.snapshot import EngineView, HostOffer, SchedulerSnapshot, Wait
from app.supervisor.host import LOCAL
from app.supervisor.states import EngineState

# A machine is left out if less than this share of the best one's part of an engine would be on devices
_AS_GOOD = 0.5
# Machines that are compared if none has room
_COMPARED = 8
# The case of machines that cannot help
_NO_HELP = 7
# Machines whose free memory is within this share of the most count as equal
_ABOUT_AS_MUCH = 0.05


class Clearing(NamedTuple):
    """How room comes about on one machine: the case, whether busy engines leave, and what it costs."""

    case: int
    busy: bool = False
    cost: float = 0.0


class PlacedEngine(NamedTuple):
    """An engine as it would run on a machine, and the case of that machine."""

    view: EngineView
    case: int


class HostRank(NamedTuple):
    """The lowest is best."""

    case: int
    moves: bool
    busy: bool
    cost: float
    ago: int
    less_free: int
    elsewhere: bool
    name: str


class HostChoice:
    """The machines at one moment. `room` counts the decisions that were made before."""

    def __init__(self, snapshot: SchedulerSnapshot, room: Room, eviction: Eviction) -> None:
        self._hosts = snapshot.hosts
        self._room = room
        self._eviction = eviction

    def placed(self, engine: EngineView, wait: Wait) -> PlacedEngine | None:
        """`engine` on the best machine; None if none can start it."""
        able = self._able(engine)
        if not able:
            return None
        if (now := self._with_room(engine, able)) is not None:
            return PlacedEngine(now, 1)
        best = self._best(engine, self._likely(engine, able), wait)
        if best.case == _NO_HELP and len(able) > _COMPARED:
            best = self._best(engine, able, wait)
        return best

    def _best(self, engine: EngineView, able: Iterable[HostOffer], wait: Wait) -> PlacedEngine:
        ranked = [(self._rank(engine, offer, wait), offer) for offer in able]
        rank, best = min(ranked, key=lambda pair: pair[0])
        return PlacedEngine(_on(engine, best), rank.case)

    def _likely(self, engine: EngineView, able: list[HostOffer]) -> list[HostOffer]:
        """The machines to compare: those that it knows, and those with the most free memory."""
        if len(able) <= _COMPARED:
            return able
        known = {engine.node, *engine.ran_on}
        return nsmallest(
            _COMPARED,
            able,
            key=lambda offer: (offer.host not in known, -self._room.free_of(_scarcest(offer.needs)), offer.host),
        )

    def with_room(self, engine: EngineView) -> EngineView | None:
        """`engine` on the best machine that has room now, if there is one."""
        return self._with_room(engine, self._able(engine))

    def in_doubt(self, engine: EngineView) -> str:
        """A machine with room that has missed a beat; empty without any. It is lost or live again in seconds."""
        room, hosts = self._room, self._hosts
        for offer in sorted(engine.offers, key=lambda offer: offer.host):
            doubted = not offer.refusal and offer.host in hosts and not hosts[offer.host].live
            if doubted and room.fits(offer.needs, offer.mapped):
                return offer.host
        return ""

    def why_none(self, engine: EngineView) -> str:
        """Why each machine cannot start it."""
        away = sorted(offer.host for offer in engine.offers if not offer.refusal)
        words = [f"{', '.join(away)} {'is' if len(away) == 1 else 'are'} away"] if away else []
        return "; ".join((*words, *(f"{offer.host}: {offer.refusal}" for offer in engine.offers if offer.refusal)))

    def _able(self, engine: EngineView) -> list[HostOffer]:
        hosts = self._hosts
        able = [
            offer for offer in engine.offers if not offer.refusal and offer.host in hosts and hosts[offer.host].live
        ]
        on_devices = [_part_on_devices(offer.needs) for offer in able]
        best = max((part for part in on_devices if part is not None), default=0.0)
        enough = _AS_GOOD * best
        return [offer for offer, part in zip(able, on_devices, strict=True) if part is None or part >= enough]

    def _with_room(self, engine: EngineView, able: Iterable[HostOffer]) -> EngineView | None:  # (1)
        room = self._room
        free = [(room.free_of(_scarcest(offer.needs)), offer) for offer in able if room.fits(offer.needs, offer.mapped)]
        enough = max((size for size, _ in free), default=0) * (1 - _ABOUT_AS_MUCH)
        # Where room was made for it, where it ran, and where most is free
        keys = {
            offer.host: (
                offer.host != engine.node,
                _how_long_ago(engine, offer.host),
                -min(size, enough),
                len(room.on(offer.host)),
                offer.host != LOCAL,
                offer.host,
            )
            for size, offer in free
        }
        for _, offer in sorted(free, key=lambda pair: keys[pair[1].host]):
            start = StartAt(engine.alias, offer.host, offer.needs, offer.mapped, engine.exclusive)
            if not (room.in_the_way(start)[0] or room.is_contended(start) or room.loading_beside(start)):
                return _on(engine, offer)
        return None

    def _rank(self, engine: EngineView, offer: HostOffer, wait: Wait) -> HostRank:
        way = self._clearing(StartAt(engine.alias, offer.host, offer.needs, offer.mapped, engine.exclusive), wait)
        return HostRank(
            way.case,
            offer.host != engine.node,
            way.busy,
            way.cost,
            _how_long_ago(engine, offer.host),
            -self._room.free_of(_scarcest(offer.needs)),
            offer.host != LOCAL,
            offer.host,
        )

    def _clearing(self, view: StartAt, wait: Wait) -> Clearing:
        room, beside = self._room, self._room.on(view.node)
        if room.short_alone(view):
            return Clearing(_NO_HELP)
        if room.is_contended(view):
            return Clearing(6)
        leaving = room.leaving & beside
        obstacles, all_of_them = room.in_the_way(view)
        if obstacles:
            if obstacles <= leaving or (obstacles & leaving and not all_of_them):
                return Clearing(3)
            return self._cost([room.up[alias] for alias in obstacles - leaving], wait, {}, all_of_them=all_of_them)
        short = room.short(view)
        if not short:
            return Clearing(2)
        missing = room.short(view, without=leaving)
        if not missing:
            return Clearing(3)
        holders = [room.up[alias] for alias in beside - leaving]
        return self._cost(
            [other for other in holders if any(map(other.needs.get, missing))], wait, missing, all_of_them=False
        )

    def _cost(self, others: list[EngineView], wait: Wait, missing: Mapping[str, int], *, all_of_them: bool) -> Clearing:
        """(4), (5) or (7): one of `others` leaves, or as many as hold what is `missing`, or all."""
        costs = {other.alias: self._eviction.cost(other, wait, missing) for other in others}
        able = sorted((cost, alias) for alias, cost in costs.items() if cost is not None)
        busy, total, still = False, 0.0, dict(missing)
        for number, ((also_busy, loss), alias) in enumerate(able, 1):
            busy, total = busy or also_busy, total + loss
            freed = self._room.up[alias].needs
            still = {name: left for name, size in still.items() if (left := size - freed.get(name, 0)) > 0}
            if not still and (number == len(others) or not all_of_them):
                return Clearing(4, busy, total)
        pinned = all(other.pinned and other.state is EngineState.READY for other in others)
        return Clearing(_NO_HELP if pinned else 5, busy, total)


def _on(engine: EngineView, offer: HostOffer) -> EngineView:
    return replace(engine, node=offer.host, needs=offer.needs, mapped=offer.mapped)


def _part_on_devices(needs: Mapping[str, int]) -> float | None:
    """The share of an engine's memory that is on devices; None if its memory is unknown."""
    everywhere = on_host = 0
    for name, size in needs.items():
        if not is_node_place(name):
            everywhere += size
            on_host += size if is_host_memory(name) else 0
    return 1 - on_host / everywhere if everywhere else None


def _scarcest(needs: Mapping[str, int]) -> str:
    """The place of which it needs most."""
    return max(needs, key=needs.__getitem__)


def _how_long_ago(engine: EngineView, host: str) -> int:
    """0 for the machine on which it ran last."""
    return engine.ran_on.index(host) if host in engine.ran_on else len(engine.ran_on)
