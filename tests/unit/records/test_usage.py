"""Sums by key, alias and day: what is added, when it is written, and that a failed write loses nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.records.batch_writer import EVERY_S
from app.records.metrics import Finished
from app.records.usage import KEPT_DAYS, UsageRecorder, UsageStore, Used, day
from tests.support import clock

NOON = 1767268800.0  # 2026-01-01 12:00 UTC
GOOD = Finished("m", 200, 2.0, prompt_tokens=10, completion_tokens=5, drafted=8, key="laptop", cached=4)
ROW = ("laptop", "m", "2026-01-01")


class Store:
    def __init__(self, failures: int = 0) -> None:
        self.writes: list[dict[Any, Used]] = []
        self.failures = failures

    def write(self, used: Mapping[Any, Used], now: float) -> None:
        if self.failures:
            self.failures -= 1
            raise sqlite3.OperationalError("locked")
        self.writes.append(dict(used))


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps only where everything is on the loop."""

    async def at_once(blocking: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        return blocking(*args)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


def recorder(store: Any) -> UsageRecorder:
    return UsageRecorder(store, base=lambda name: name.partition(":")[0], clock=lambda: NOON)


def test_a_second_of_requests_is_one_write_of_sums() -> None:
    """A variant belongs to its alias; a request for no model to nobody."""
    store = Store()

    async def main() -> None:
        found = recorder(store)
        for request in (GOOD, Finished("m:plain", 502, 1.0, key="laptop"), GOOD, Finished("", 404, 1.0)):
            found.add(request)
        await asyncio.sleep(2 * EVERY_S)
        await asyncio.sleep(100 * EVERY_S)
        await found.close()

    clock.run(main())
    assert store.writes == [{ROW: Used(3, 20, 10, 8, 16, 5.0)}]


def test_a_write_that_fails_is_made_up_for() -> None:
    """Together with what has come since."""
    store = Store(failures=2)

    async def main() -> None:
        found = recorder(store)
        found.add(GOOD)
        await asyncio.sleep(1.5 * EVERY_S)
        found.add(GOOD)
        await asyncio.sleep(5 * EVERY_S)
        await found.close()

    clock.run(main())
    assert store.writes == [{ROW: Used(2, 20, 10, 8, 16, 4.0)}]


def test_closing_writes_what_is_left() -> None:
    """And waits for no timer."""
    store = Store()

    async def main() -> None:
        found = recorder(store)
        found.add(GOOD)
        await found.close()

    clock.run(main())
    assert [list(write) for write in store.writes] == [[ROW]]


def test_rows_add_up_and_expire(tmp_path: Path) -> None:
    """Over processes; what is older than its time goes with the next write."""
    for _ in range(2):
        UsageStore(tmp_path).write({ROW: Used(1, 2, 3, 1, 0, 0.5), ("", "m", "2026-01-01"): Used(1)}, NOON)
    assert UsageStore(tmp_path).read(["key"]) == [
        {"key": "", "requests": 2, "tokens_in": 0, "tokens_out": 0, "cached": 0, "drafted": 0, "seconds": 0.0},
        {"key": "laptop", "requests": 2, "tokens_in": 4, "tokens_out": 6, "cached": 2, "drafted": 0, "seconds": 1.0},
    ]
    later = NOON + (KEPT_DAYS + 1) * 86400
    UsageStore(tmp_path).write({("laptop", "m", day(later)): Used(1)}, later)
    assert [row["day"] for row in UsageStore(tmp_path).read(["day"])] == [day(later)]


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """Nor needs it a table."""
    assert UsageStore(tmp_path / "no").read(["key"]) == []
    assert list(tmp_path.iterdir()) == []
