"""What the one thread that writes does when the database does not let it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError, RecordsError
from app.records import writer as writing
from app.records.database import FILE_NAME, Database
from app.records.database_errors import SAY_EVERY_S
from app.records.writer import EVERY_S, FIRST_RETRY_S, LONGEST_RETRY_S, Work
from tests.support.records import HandClock, execute, without_thread, write_lock


class Desk:
    """A database without a thread: `turn` is one try, if it is time for one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = HandClock()
        self.told: list[str] = []
        self.database = Database(folder, report=self.told.append, clock=self.clock)
        self.writer = self.database.writer

    def record(self, plan: str) -> None:
        self.database.record("inert", inserting(plan))

    def turn(self) -> bool:
        at = self.writer._due()
        if at is None or at > self.clock.now:
            return False
        self.writer.turn()
        return True

    def plans(self) -> list[str]:
        """As another process sees them, in the order in which they were written."""
        return [plan for (plan,) in execute(self.folder, "SELECT plan FROM inert ORDER BY rowid")]


def inserting(plan: str) -> Work:
    return lambda connection: connection.execute("INSERT INTO inert (plan, at, reason) VALUES (?, 1e10, '')", (plan,))


class Pile:
    """A source: what was put on it and not taken yet."""

    table = "inert"

    def __init__(self) -> None:
        self.plans: list[str] = []

    def take(self) -> Work | None:
        taken, self.plans = self.plans, []
        if not taken:
            return None

        def work(connection: sqlite3.Connection) -> None:
            for plan in taken:
                inserting(plan)(connection)

        return work


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Its file is there and migrated."""
    without_thread(monkeypatch)
    desk = Desk(tmp_path)
    desk.record("first")
    assert desk.turn()
    yield desk
    desk.writer._forget()


def test_what_is_locked_is_tried_again_in_growing_waits(desk: Desk) -> None:
    """In order, and whole; one line tells of it."""
    waits = []
    with write_lock(desk.folder):
        desk.record("a")
        for _ in range(12):
            assert desk.turn()
            desk.record(f"b{len(waits)}")
            at = desk.writer._due()
            assert at is not None
            waits.append(at - desk.clock.now)
            assert not desk.turn()
            desk.clock.now = at
        assert desk.plans() == ["first"]
    assert waits[:4] == pytest.approx([FIRST_RETRY_S * 2**n for n in range(4)]) and waits[-1] == LONGEST_RETRY_S
    while desk.turn():
        pass
    assert desk.plans() == ["first", "a", *(f"b{n}" for n in range(12))]
    assert 1 <= len(desk.told) <= 1 + sum(waits) // SAY_EVERY_S
    assert "another process holds its lock. End that process" in desk.told[0]


def test_a_line_a_minute_is_the_most(desk: Desk) -> None:
    """Whatever goes wrong, and however often; what was lost meanwhile is counted."""
    warnings = desk.database.warnings
    warnings.say("first")
    warnings.say("second", lost=2)
    desk.clock.now += SAY_EVERY_S - 1
    warnings.say("third")
    desk.clock.now += 1
    warnings.say("fourth", lost=1)
    desk.clock.now += SAY_EVERY_S
    warnings.say("fifth")
    assert desk.told == ["first", "fourth 3 records are lost.", "fifth"]


def test_memory_has_an_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of what waits go first, and their number is told."""
    monkeypatch.setattr(writing, "MOST_WAITING", 2)
    with write_lock(desk.folder):
        desk.record("a")
        desk.turn()
        for plan in ("b", "c", "d", "e"):
            desk.record(plan)
    desk.clock.now += SAY_EVERY_S
    while desk.turn():
        pass
    assert desk.plans() == ["first", "a", "d", "e"]
    desk.writer._warnings.say("Next.")
    assert desk.told[-1] == "Next. 2 records are lost."


def test_a_write_that_is_dropped_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that waits for it would wait for ever."""
    monkeypatch.setattr(writing, "MOST_WAITING", 1)
    waiting = desk.writer.submit("inert", inserting("a"), 5.0)
    desk.record("b")
    with pytest.raises(RecordsError, match="too many wait"):
        waiting.result(0)


def test_a_full_disk_costs_nothing_once_there_is_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the writer goes on trying with a new connection."""
    connect, full = sqlite3.connect, [True]

    def limited(*args: Any, **more: Any) -> sqlite3.Connection:
        connection = connect(*args, **more)
        if full[0]:
            connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(sqlite3, "connect", limited)
    desk.writer._forget()
    desk.record("x" * 100_000)
    assert desk.turn()
    assert "the disk is full. Free some space." in desk.told[0]
    full[0] = False
    desk.clock.now += LONGEST_RETRY_S
    assert desk.turn() and len(desk.plans()) == 2


def test_a_record_that_cannot_be_written_stops_no_other(desk: Desk) -> None:
    """Not even in the same transaction; it is told."""

    def wrong(connection: sqlite3.Connection) -> None:
        inserting("half")(connection)
        raise OverflowError("too large")

    desk.record("a")
    desk.database.record("inert", wrong)
    desk.database.record("inert", inserting("first"))
    desk.record("b")
    desk.turn()
    assert desk.plans() == ["first", "a", "b"]
    assert desk.told == ["cannot record in the table inert: too large. 1 record is lost."]


def test_figures_are_taken_once_a_second(desk: Desk) -> None:
    """And while they cannot be written, not again: they add up where they are."""
    pile = Pile()
    desk.database.add_source(pile)
    pile.plans.append("a")
    desk.database.due()
    assert not desk.turn()
    desk.clock.now += EVERY_S
    with write_lock(desk.folder):
        assert desk.turn() and pile.plans == []
        pile.plans += ["b", "c"]
        desk.database.due()
        desk.clock.now += EVERY_S
        assert desk.turn() and pile.plans == ["b", "c"]
    desk.clock.now += EVERY_S
    assert desk.turn() and desk.turn() and not desk.turn()
    assert desk.plans() == ["first", "a", "b", "c"]


def test_a_source_that_fails_stops_no_other(desk: Desk) -> None:
    """The thread is the only one that writes."""

    class Broken(Pile):
        def take(self) -> Work | None:
            raise RuntimeError("broken")

    pile = Pile()
    desk.database.add_source(Broken())
    desk.database.add_source(pile)
    pile.plans.append("a")
    desk.database.due()
    desk.clock.now += EVERY_S
    assert desk.turn() and desk.plans() == ["first", "a"]
    assert "broken" in desk.told[0]


def test_who_waits_is_told_what_became_of_it(desk: Desk) -> None:
    """The result, the work's own refusal, or why it could not be written in time; never written after that."""
    written = desk.writer.submit("inert", lambda connection: inserting("a")(connection).rowcount, 5.0)

    def refuse(connection: sqlite3.Connection) -> None:
        raise ConfigError(["There is one already."])

    refused = desk.writer.submit("inert", refuse, 5.0)
    desk.turn()
    assert written.result() == 1
    with pytest.raises(ConfigError, match="one already"):
        refused.result()
    with write_lock(desk.folder):
        late = desk.writer.submit("inert", inserting("late"), 5.0)
        desk.turn()
        assert not late.done()
        desk.clock.now += 5.0
        desk.turn()
        with pytest.raises(RecordsError, match="another process holds its lock"):
            late.result()
    desk.clock.now += LONGEST_RETRY_S
    assert not desk.turn() and desk.plans() == ["first", "a"] and desk.told == []


def test_who_waits_behind_others_is_told_in_time(desk: Desk) -> None:
    """Records that wait for a lock hold up nobody beyond the patience that was asked for."""
    with write_lock(desk.folder):
        desk.record("a")
        desk.turn()
        late = desk.writer.submit("inert", inserting("late"), 0.5)
        desk.clock.now += 0.5
        assert desk.turn() and late.done()
        assert not desk.turn()


def test_a_file_that_is_moved_away_is_not_written_to(desk: Desk) -> None:
    """Nobody would ever read it; a new one takes its place."""
    desk.record("a")
    desk.turn()
    for path in desk.folder.iterdir():
        path.rename(path.with_name(f"old-{path.name}"))
    desk.record("b")
    desk.turn()
    assert desk.plans() == ["b"]


def test_the_end_writes_what_is_left(tmp_path: Path) -> None:
    """Without waiting for the second to pass; behind it whoever waits is refused."""
    pile = Pile()
    with Database(tmp_path) as database:
        database.add_source(pile)
        pile.plans.append("a")
        database.due()
        database.record("inert", inserting("b"))
    assert sorted(execute(tmp_path, "SELECT plan FROM inert")) == [("a",), ("b",)]
    with pytest.raises(RecordsError, match="is ending"):
        database.write("inert", inserting("c"))
    assert database.writer._thread is None


def test_the_end_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process's lock holds up no stop for ever; what is lost is counted."""
    told: list[str] = []
    with Database(tmp_path) as database:
        database.write("inert", inserting("first"))
    monkeypatch.setattr("app.records.database._LOCK_PATIENCE_S", 0.0)
    monkeypatch.setattr("app.records.database.CLOSE_WITHIN_S", 0.2)
    with write_lock(tmp_path), Database(tmp_path, report=told.append) as database:
        database.record("inert", inserting("a"))
        database.record("inert", inserting("b"))
    assert told[-1] == "records are lost at the end: 2 could not be written within 0.2 s."


def test_nothing_starts_before_there_is_something_to_write(tmp_path: Path) -> None:
    """A command that reads has no thread and makes no file."""
    with Database(tmp_path) as database:
        assert database.read("inert", "SELECT plan FROM inert") == []
        assert database.writer._thread is None
    assert not (tmp_path / FILE_NAME).exists()
