"""A head goes out with what follows it at once, and alone where nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app.server.coalesce import HeadWithBody


class Transport:
    """What reaches the kernel."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.writes.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.writes


def written(script: Callable[[HeadWithBody], Awaitable[None]]) -> list[bytes]:
    async def main() -> list[bytes]:
        transport = Transport()
        await script(HeadWithBody(transport, asyncio.get_running_loop()))  # type: ignore[arg-type]
        return transport.writes

    return asyncio.run(main())


def test_head_and_body_are_one_write() -> None:
    """What follows them is written as it comes."""

    async def script(out: HeadWithBody) -> None:
        out.expect()
        for part in (b"head", b"body", b"more"):
            out.write(part)
        await asyncio.sleep(0)

    assert written(script) == [b"headbody", b"more"]


def test_a_head_without_a_body_waits_one_turn() -> None:
    """A stream's first event may be long in coming."""

    async def script(out: HeadWithBody) -> None:
        out.expect()
        out.write(b"head")
        await asyncio.sleep(0)
        out.write(b"body")

    assert written(script) == [b"head", b"body"]


def test_the_next_answers_head_is_held_as_well() -> None:
    """One connection has many."""

    async def script(out: HeadWithBody) -> None:
        for _ in range(2):
            out.expect()
            out.write(b"head")
            out.write(b"body")

    assert written(script) == [b"headbody"] * 2


def test_a_connection_that_is_closed_has_written_its_head() -> None:
    """Nothing is lost, and what is asked of the transport is answered by it."""

    async def script(out: HeadWithBody) -> None:
        out.expect()
        out.write(b"head")
        assert not out.is_closing()
        out.close()
        assert out.is_closing()

    assert written(script) == [b"head", b"closed"]


def test_a_head_that_is_still_held_is_not_lost_to_the_next_request() -> None:
    """Clients may send a second request before they have the first answer."""

    async def script(out: HeadWithBody) -> None:
        out.expect()
        out.write(b"head")
        out.expect()
        for part in (b"body", b"head2", b"body2"):
            out.write(part)
        await asyncio.sleep(0)

    assert b"".join(written(script)) == b"headbodyhead2body2"
