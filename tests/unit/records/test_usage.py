"""Sums by key, alias and day: what is added, and that a database in trouble loses none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.records.database import Database
from app.records.metrics import Finished
from app.records.usage import KEPT_DAYS, UsageRecorder, UsageStore, UsageSums, day
from tests.support.records import HandClock, execute, without_thread, write_lock, write_usage

NOON = 1767268800.0  # 2026-01-01 12:00 UTC
GOOD = Finished("m", 200, 2.0, prompt_tokens=10, completion_tokens=5, drafted=8, key="laptop", cached=4, entry="m")
ROW = ("laptop", "m", "2026-01-01")


def recorder(database: Database) -> UsageRecorder:
    return UsageRecorder(database, clock=lambda: NOON)


def test_requests_are_summed_up(tmp_path: Path) -> None:
    """A variant belongs to its alias; a request for no model to nobody. The end writes what is left."""
    with Database(tmp_path) as database:
        usage = recorder(database)
        for request in (GOOD, Finished("m:plain", 502, 1.0, key="laptop", entry="m"), GOOD, Finished("", 404, 1.0)):
            usage.add(request)
    assert UsageStore(database).read(["key", "alias", "day"]) == [
        dict(zip(("key", "alias", "day"), ROW, strict=True))
        | {"requests": 3, "tokens_in": 20, "tokens_out": 10, "cached": 8, "drafted": 16, "seconds": 5.0}
    ]


def test_what_comes_while_a_write_fails_is_one_row_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it lasts: sums grow by no request, and none is counted twice."""
    write_usage(tmp_path, {}, NOON)
    without_thread(monkeypatch)
    database = Database(tmp_path, report=lambda text: None, clock=HandClock())
    usage = recorder(database)
    with write_lock(tmp_path):
        for _ in range(3):
            usage.add(GOOD)
            database.writer.turn()
        assert len(usage._sums) == 1
    database.writer.turn()
    database.writer.turn()
    assert [row["requests"] for row in UsageStore(database).read(["key"])] == [3]
    assert usage.take() is None
    database.writer._forget()


def test_rows_add_up_and_expire(tmp_path: Path) -> None:
    """Over processes; what is older than its time goes with the next write."""
    for _ in range(2):
        write_usage(tmp_path, {ROW: UsageSums(1, 2, 3, 1, 0, 0.5), ("", "m", "2026-01-01"): UsageSums(1)}, NOON)
    store = UsageStore(Database(tmp_path))
    assert store.read(["key"]) == [
        {"key": "", "requests": 2, "tokens_in": 0, "tokens_out": 0, "cached": 0, "drafted": 0, "seconds": 0.0},
        {"key": "laptop", "requests": 2, "tokens_in": 4, "tokens_out": 6, "cached": 2, "drafted": 0, "seconds": 1.0},
    ]
    later = NOON + (KEPT_DAYS + 1) * 86400
    write_usage(tmp_path, {("laptop", "m", day(later)): UsageSums(1)}, later)
    assert [row["day"] for row in store.read(["day"])] == [day(later)]


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """Nor needs it a table, in a file from before there were versions."""
    assert UsageStore(Database(tmp_path / "no")).read(["key"]) == []
    assert list(tmp_path.iterdir()) == []
    execute(tmp_path, "CREATE TABLE other (x)")
    assert UsageStore(Database(tmp_path)).read(["key"]) == []
