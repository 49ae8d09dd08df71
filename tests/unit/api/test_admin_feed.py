"""What an administrator watches: one look for all, changes by number, a snapshot where some are gone."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from app.api.admin_feed import LOOK_EVERY_S, AdminFeed
from app.relay.traffic import Traffic


class World:
    """What there is to see, a clock, and how often somebody looked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0
        self.engines: dict[str, dict[str, Any]] = {"m": {"state": "ready"}}
        self.traffic: Any = SimpleNamespace(ended=0, last=lambda count: [])
        self.feed = AdminFeed(self.look, self.traffic, lambda: self.now)

    def look(self) -> dict[str, dict[str, dict[str, Any]]]:
        self.looks += 1
        return {"engines": dict(self.engines)}

    def later(self, **engines: str | None) -> None:
        """Engines are in these states at the next look, None for one that is gone."""
        self.now += LOOK_EVERY_S
        for name, state in engines.items():
            if state is None:
                del self.engines[name]
            else:
                self.engines[name] = {"state": state}


@pytest.fixture
def world() -> World:
    return World()


def parsed(events: bytes) -> list[tuple[str, str, Any]]:
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in events.decode().split("\n\n")[:-1]]
    return [(block["id"], block["event"], json.loads(block["data"])) for block in blocks]


def test_nobody_looks_while_nobody_watches(world: World) -> None:
    assert world.looks == 0
    world.feed.begin("")
    world.feed.begin("")
    assert world.looks == 1


def test_changes_are_rows_that_differ_and_keys_that_are_gone(world: World) -> None:
    number, first = world.feed.begin("")
    assert [event[1:] for event in parsed(first)] == [("snapshot", {"engines": {"m": {"state": "ready"}}})]
    world.later(m="draining", b="starting")
    number, events = world.feed.behind(number)
    rows = {"m": {"state": "draining"}, "b": {"state": "starting"}}
    assert [event[1:] for event in parsed(events)] == [("change", {"set": {"engines": rows}})]
    world.later(b=None)
    number, events = world.feed.behind(number)
    assert [event[1:] for event in parsed(events)] == [("change", {"gone": {"engines": ["b"]}})]
    world.later()
    assert world.feed.behind(number) == (number, b"")


def test_looks_are_a_quarter_of_a_second_apart(world: World) -> None:
    """Whatever happens in between, and however many watch."""
    number, _ = world.feed.begin("")
    world.engines["m"] = {"state": "draining"}
    assert world.feed.behind(number) == (number, b"")
    world.later()
    assert len(parsed(world.feed.behind(number)[1])) == len(parsed(world.feed.behind(number)[1])) == 1
    assert world.looks == 2


def test_who_comes_back_gets_what_it_has_missed(world: World) -> None:
    """One after the other, from its last event on."""
    number, first = world.feed.begin("")
    [(last, _, _)] = parsed(first)
    for state in ("draining", "stopped"):
        world.later(m=state)
        world.feed.refresh()
    again, first = world.feed.begin(last)
    assert first == b"" and again == number
    changes = parsed(world.feed.behind(again)[1])
    assert [change[2]["set"]["engines"]["m"]["state"] for change in changes] == ["draining", "stopped"]


@pytest.mark.parametrize("last", ["", "0-0", "nonsense", "-", "é-1"])
def test_an_id_of_another_life_begins_with_a_snapshot(last: str, world: World) -> None:
    world.feed.begin("")
    assert parsed(world.feed.begin(last)[1])[0][1] == "snapshot"


def test_who_has_missed_too_much_begins_anew(world: World) -> None:
    number, first = world.feed.begin("")
    [(last, _, _)] = parsed(first)
    for i in range(1000):
        world.later(m=str(i))
        world.feed.refresh()
    assert [event[1:] for event in parsed(world.feed.begin(last)[1])] == [
        ("snapshot", {"engines": {"m": {"state": "999"}}})
    ]
    assert parsed(world.feed.behind(number)[1])[0][1] == "snapshot"


def test_traffic_begins_empty() -> None:
    traffic = Traffic()
    assert (traffic.running(), traffic.last(), traffic.ended) == ([], [], 0)
