"""Requests on their way to the ledger: what is kept, when it is written, and that memory has an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.errors import EngineNotFoundError
from app.records import measurements as recording
from app.records.batch_writer import EVERY_S
from app.records.ledger import Measurement
from app.records.measurements import Recorder
from app.records.metrics import Finished
from tests.support import clock

GOOD = Finished("m", 200, 3.0, ttft=1.0, completion_tokens=5, drafted=8, accepted=6, mode="draft-simple", in_flight=2)


class Ledger:
    def __init__(self) -> None:
        self.writes: list[list[Measurement]] = []

    def record_measurements(self, found: Sequence[Measurement]) -> None:
        self.writes.append(list(found))


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps only where everything is on the loop."""

    async def at_once(blocking: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        return blocking(*args)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


def recorder(ledger: Ledger, key: Callable[[str], str] = "key of {}".format) -> Recorder:
    found: Any = ledger
    return Recorder(found, key=key, base=lambda name: name.partition(":")[0])


def written(*requests: Finished, alias: str = "m", key: Callable[[str], str] = "key of {}".format) -> list[Measurement]:
    ledger = Ledger()

    async def main() -> None:
        found = recorder(ledger, key)
        found.starting(alias)
        for request in requests:
            found.add(request)
        await found.close()

    clock.run(main())
    return [row for write in ledger.writes for row in write]


def test_a_request_becomes_a_row() -> None:
    """Under the key of its engine's start."""
    [row] = written(GOOD)
    assert row.at > 0
    assert row == Measurement("m", "key of m", "draft-simple", row.at, 2, 1.0, 0.5, 3.0, 5, 8, 6)


def test_a_variant_is_a_mode_of_its_alias() -> None:
    """So that both stand in one table."""
    plain = Finished("m:plain", 200, 3.0, completion_tokens=5, decode=2.0, mode="none", in_flight=1)
    [row] = written(plain, alias="m:plain")
    assert (row.alias, row.mode, row.ttft, row.tpot, row.drafted, row.accepted) == ("m", "none", 1.0, 0.5, None, None)


@pytest.mark.parametrize(
    "request_",
    [
        Finished("m", 499, 3.0, ttft=1.0, completion_tokens=5, mode="none", in_flight=1),
        Finished("m", 200, 3.0, ttft=1.0, completion_tokens=1, mode="none", in_flight=1),
        Finished("m", 200, 3.0, mode="none", in_flight=1),
        Finished("m", 200, 3.0, ttft=1.0, completion_tokens=5),
        Finished("other", 200, 3.0, ttft=1.0, completion_tokens=5, mode="none", in_flight=1),
    ],
    ids=["broken off", "one token", "no completion", "attached", "not started"],
)
def test_what_says_nothing_of_decoding_is_left_out(request_: Finished) -> None:
    """Neither what failed nor what others run."""
    assert written(request_) == []


@pytest.mark.parametrize("error", [EngineNotFoundError("gone"), OSError(2, "gone")])
def test_without_a_key_nothing_is_recorded(error: Exception) -> None:
    """Figures that nobody could place; the start says what is wrong."""

    def key(_: str) -> str:
        raise error

    assert written(GOOD, key=key) == []


def test_a_second_of_requests_is_one_write() -> None:
    """And a second without any is none."""
    ledger = Ledger()

    async def main() -> None:
        found = recorder(ledger)
        found.starting("m")
        for _ in range(3):
            found.add(GOOD)
            await asyncio.sleep(EVERY_S / 4)
        assert ledger.writes == []
        await asyncio.sleep(EVERY_S)
        assert [len(write) for write in ledger.writes] == [3]
        await asyncio.sleep(100 * EVERY_S)
        found.add(GOOD)
        assert len(ledger.writes) == 1
        await asyncio.sleep(2 * EVERY_S)
        await found.close()
        assert [len(write) for write in ledger.writes] == [3, 1]

    clock.run(main())


def test_what_comes_during_a_write_is_written_after_it() -> None:
    """A slow disk, or a key that takes its time, holds up no request and loses none."""
    ledger, ready = Ledger(), asyncio.Event()

    async def main() -> None:
        found = recorder(ledger)

        async def slow() -> str | None:
            await ready.wait()
            return "late"

        found._keys["m"] = asyncio.create_task(slow())
        found.add(GOOD)
        await asyncio.sleep(2 * EVERY_S)
        found.add(GOOD)
        found.add(GOOD)
        ready.set()
        await asyncio.sleep(2 * EVERY_S)
        assert [[row.key for row in write] for write in ledger.writes] == [["late"], ["late", "late"]]
        await found.close()

    clock.run(main())


def test_closing_waits_for_the_write_that_is_under_way() -> None:
    """And writes what came since."""
    ledger = Ledger()

    async def main() -> None:
        found = recorder(ledger)
        found.starting("m")
        found.add(GOOD)
        found._batches._begin()
        await asyncio.sleep(0)
        found.add(GOOD)
        await found.close()
        assert sum(len(write) for write in ledger.writes) == 2

    clock.run(main())


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it figures are lost, and the log says how many."""
    monkeypatch.setattr(recording, "KEPT_REQUESTS", 2)
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(recording.log, "warning", lambda event, **fields: said.append(fields), raising=False)
    assert len(written(*[GOOD] * 5)) == 2
    assert said == [{"requests": 3}]
