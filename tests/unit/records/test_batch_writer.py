"""Written once a second, never twice at once."""

from __future__ import annotations

import asyncio

from app.records.batch_writer import EVERY_S, Batches
from tests.support import clock


class Desk:
    """What lies on it is written; a write takes `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.lying: list[str] = []
        self.written: list[list[str]] = []
        self.at_once = self.most_at_once = 0
        self._seconds = seconds
        self.batches = Batches(self._write, lambda: bool(self.lying))

    def put(self, what: str) -> None:
        self.lying.append(what)
        self.batches.due()

    async def _write(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        taken, self.lying = self.lying, []
        await asyncio.sleep(self._seconds)
        self.written.append(taken)
        self.at_once -= 1


def test_what_comes_within_a_second_is_one_write() -> None:
    """And nothing is written while nothing comes."""

    async def main() -> None:
        desk = Desk()
        desk.put("a")
        desk.put("b")
        await asyncio.sleep(10 * EVERY_S)
        assert desk.written == [["a", "b"]]

    clock.run(main())


def test_what_comes_during_a_write_waits_for_its_end() -> None:
    """A slow disk makes batches larger, not more at once."""

    async def main() -> None:
        desk = Desk(seconds=5 * EVERY_S)
        desk.put("a")
        await asyncio.sleep(2 * EVERY_S)
        desk.put("b")
        await asyncio.sleep(20 * EVERY_S)
        assert desk.written == [["a"], ["b"]]
        assert desk.most_at_once == 1

    clock.run(main())


def test_close_writes_what_is_left() -> None:
    """After the write that is under way, and without waiting for the second to pass."""

    async def main() -> None:
        desk = Desk(seconds=5 * EVERY_S)
        desk.put("a")
        await asyncio.sleep(2 * EVERY_S)
        desk.put("b")
        await desk.batches.close()
        assert (desk.written, desk.most_at_once) == ([["a"], ["b"]], 1)
        await desk.batches.close()
        assert len(desk.written) == 2

    clock.run(main())
