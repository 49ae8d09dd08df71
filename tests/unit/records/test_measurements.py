"""Requests on their way to the ledger: what is kept, when it is taken, and that memory has an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.errors import EngineNotFoundError
from app.records import measurements as recording
from app.records.database import Database
from app.records.ledger import Ledger, Measurement
from app.records.measurements import Recorder
from app.records.metrics import Finished
from app.records.writer import FigureSource
from tests.support import clock

GOOD = Finished(
    "m", 200, 3.0, ttft=1.0, completion_tokens=5, drafted=8, accepted=6, mode="draft-simple", in_flight=2, entry="m"
)


class Taker:
    """In the place of the database: `take` gives what would be written now."""

    def __init__(self, folder: Path) -> None:
        self.announced = 0
        self._database = Database(folder)
        self._sources: list[FigureSource] = []

    def add_source(self, source: FigureSource) -> None:
        self._sources.append(source)

    def due(self) -> None:
        self.announced += 1

    def take(self) -> list[Measurement]:
        before = Ledger(self._database).measurements()
        [work] = [source.take() for source in self._sources]
        if work is not None:
            self._database.write("measurement", work)
        return [row for row in Ledger(self._database).measurements() if row not in before]


@pytest.fixture
def taker(tmp_path: Path) -> Taker:
    return Taker(tmp_path)


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps only where everything is on the loop."""

    async def at_once(blocking: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        return blocking(*args)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


def written(
    taker: Taker, *requests: Finished, alias: str = "m", key: Callable[[str], str] = "key of {}".format
) -> list[Measurement]:
    async def main() -> None:
        found = Recorder(taker)  # type: ignore[arg-type]
        found.starting(alias, partial(key, alias))
        for request in requests:
            found.add(request)
        await found.close()

    clock.run(main())
    return taker.take()


def test_a_request_becomes_a_row(taker: Taker) -> None:
    """Under the key of its engine's start."""
    [row] = written(taker, GOOD)
    assert row.at > 0
    assert row == Measurement("m", "key of m", "draft-simple", row.at, 2, 1.0, 0.5, 3.0, 5, 8, 6)


def test_a_variant_is_a_mode_of_its_alias(taker: Taker) -> None:
    """So that both stand in one table."""
    plain = Finished("m:plain", 200, 3.0, completion_tokens=5, decode=2.0, mode="none", in_flight=1, entry="m")
    [row] = written(taker, plain, alias="m:plain")
    assert (row.alias, row.mode, row.ttft, row.tpot, row.drafted, row.accepted) == ("m", "none", 1.0, 0.5, None, None)


@pytest.mark.parametrize(
    "request_",
    [
        Finished("m", 499, 3.0, ttft=1.0, completion_tokens=5, mode="none", in_flight=1, entry="m"),
        Finished("m", 200, 3.0, ttft=1.0, completion_tokens=1, mode="none", in_flight=1, entry="m"),
        Finished("m", 200, 3.0, mode="none", in_flight=1, entry="m"),
        Finished("m", 200, 3.0, ttft=1.0, completion_tokens=5, entry="m"),
        Finished("other", 200, 3.0, ttft=1.0, completion_tokens=5, mode="none", in_flight=1),
    ],
    ids=["broken off", "one token", "no completion", "attached", "not started"],
)
def test_what_says_nothing_of_decoding_is_left_out(taker: Taker, request_: Finished) -> None:
    """Neither what failed nor what others run."""
    assert written(taker, request_) == []


@pytest.mark.parametrize("error", [EngineNotFoundError("gone"), OSError(2, "gone")])
def test_without_a_key_nothing_is_recorded(taker: Taker, error: Exception) -> None:
    """Figures that nobody could place; the start says what is wrong."""

    def key(_: str) -> str:
        raise error

    assert written(taker, GOOD, key=key) == []


def test_a_request_whose_key_is_not_known_yet_waits_for_it(taker: Taker) -> None:
    """A key may take its time; it holds up neither the requests nor other aliases, and announces them."""

    async def main() -> None:
        found = Recorder(taker)  # type: ignore[arg-type]
        found.starting("slow", "key of slow".lower)
        found.starting("m", "key of m".lower)
        slow = found._keys["slow"] = recording._Key()
        await asyncio.sleep(1)
        for alias in ("slow", "m", "slow"):
            found.add(Finished(alias, 200, 3.0, ttft=1.0, completion_tokens=5, mode="none", in_flight=1, entry=alias))
        assert [row.alias for row in taker.take()] == ["m"]
        assert taker.take() == []
        slow.set_result("late")
        assert [(row.alias, row.key) for row in taker.take()] == [("slow", "late")] * 2
        await found.close()

    clock.run(main())


def test_a_key_that_is_found_announces_what_waited(taker: Taker) -> None:
    """Otherwise the last requests of a start would wait for the next one."""

    async def main() -> None:
        found = Recorder(taker)  # type: ignore[arg-type]
        found.starting("m", "key of m".lower)
        found.add(GOOD)
        before = taker.announced
        await found.close()
        assert taker.announced == before + 1

    clock.run(main())


def test_memory_has_an_end(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it the oldest figures are lost, and the log says how many."""
    monkeypatch.setattr(recording, "KEPT_REQUESTS", 2)
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(recording.log, "warning", lambda event, **fields: said.append(fields), raising=False)
    requests = [Finished("m", 200, 3.0, completion_tokens=n, mode="none", in_flight=1, entry="m") for n in range(2, 7)]
    assert [row.tokens for row in written(taker, *requests)] == [5, 6]
    assert said == [{"requests": 3}]
