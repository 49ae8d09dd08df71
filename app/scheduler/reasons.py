"""Texts for decisions: why an engine leaves, and why a request still waits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from app.scheduler.node_places import is_node_place
from app.scheduler.room import UNCAPPED, Room
from app.scheduler.snapshot import LEAVING, EngineView, SchedulerSnapshot
from app.supervisor.states import EngineState
from app.terminal import memory_in_words


def use_of(engine: EngineView, now: float) -> str:
    """`pinned`, `busy with 2`, `idle 41 s`, `draining, busy with 1`."""
    if engine.pinned and engine.state is EngineState.READY:
        return "pinned"
    busy = f"busy with {engine.in_flight}" if engine.in_flight else ""
    if engine.state is not EngineState.READY:
        return f"{engine.state}, {busy}" if busy else str(engine.state)
    return busy or f"idle {seconds(now - max(engine.last_used, engine.ready_at))}"


def kept_by(engine: EngineView, snapshot: SchedulerSnapshot) -> str:
    """The reason why an engine stays, or has not left yet: `busy with 2 for 12 s`."""
    now, words = snapshot.now, use_of(engine, snapshot.now)
    if engine.pinned or engine.state is not EngineState.READY:
        return words
    if engine.in_flight and engine.busy_since < now:
        words += f" for {seconds(now - engine.busy_since)}"
    stays = snapshot.stays_until(engine) - now
    return f"{words}, and stays {seconds(stays)} more since it came up a moment ago" if stays > 0 else words


def kind_of(engine: EngineView) -> str:
    """A key that is equal for reasons that differ only in figures."""
    if engine.state in LEAVING:
        return "leaving"
    return "pinned" if engine.pinned else str(engine.state)


def shortage(lacking: Mapping[str, int]) -> str:
    """Names the missing bytes of each place in memory."""
    return " and ".join(f"{memory_in_words(size)} of {name}" for name, size in lacking.items()) + " are missing"


def sizes(engine: EngineView, places: Iterable[str], word: str) -> str:
    """`5.20 GiB on CUDA0 and 1.00 GiB on host`; empty if the engine needs nothing there."""
    parts = (_part(place, size, word) for place in places if (size := engine.needs.get(place)))
    return " and ".join(parts)


def _part(place: str, size: int, word: str) -> str:
    return f"a place on {place}" if is_node_place(place) else f"{memory_in_words(size)} {word} {place}"


def free_for(engine: EngineView, room: Room) -> str:
    """`1 of 2 places free; needs 4.80 GiB of CUDA0, 8.00 GiB free`, before the engine takes its place.

    Begins with the machine, if there are several.
    """
    parts = [f"on {engine.node}"] if engine.node else []
    parts += [f"{room.free} of {room.places} places free"] if room.places < UNCAPPED and not engine.node else []
    for place, left in room.left(engine).items():
        free = f"{left} free" if is_node_place(place) else f"{memory_in_words(left)} free"
        parts.append(f"needs {sizes(engine, (place,), 'of')}, {free}")
    return "; ".join(parts)


def names(aliases: Set[str]) -> str:
    """`'a' and 'b' are`"""
    quoted = " and ".join(f"'{alias}'" for alias in sorted(aliases))
    return f"{quoted} {'is' if len(aliases) == 1 else 'are'}"


def seconds(duration: float) -> str:
    """Seconds with tenths, from 10 s on without."""
    return f"{duration:.1f} s" if duration < 10 else f"{duration:.0f} s"
