"""Comments in the pauses of a stream, on a clock that jumps."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from app.relay.response.keepalive import StreamKeepalive
from tests.support.clock import run

COMMENT = b": still here\n\n"
Script = Callable[[StreamKeepalive, list[tuple[float, bytes]]], Awaitable[None]]


def sent(script: Script, *, between: bool = True, every: float = 10, takes: float = 0) -> list[tuple[float, bytes]]:
    """What the client got, and when; sending takes `takes` seconds."""
    seen: list[tuple[float, bytes]] = []

    async def write(chunk: bytes) -> None:
        await asyncio.sleep(takes)
        seen.append((asyncio.get_running_loop().time(), chunk))

    async def main() -> None:
        keepalive = StreamKeepalive(write, COMMENT, lambda: between, last=0.0, every=10)
        try:
            await script(keepalive, seen)
        finally:
            keepalive.close()
        await asyncio.sleep(100)  # and nothing after it

    run(main())
    return seen


def test_a_silent_stream_is_kept_company() -> None:
    """One comment every ten seconds, from the last byte on."""

    async def script(keepalive: StreamKeepalive, _: Any) -> None:
        await asyncio.sleep(4)
        await keepalive.send(b"a")
        await asyncio.sleep(25)
        await keepalive.send(b"b")
        await asyncio.sleep(9)

    assert [body for _, body in sent(script)] == [b"a", COMMENT, COMMENT, b"b"]
    assert [round(at) for at, _ in sent(script)] == [4, 14, 24, 29]


def test_a_stream_that_speaks_hears_none() -> None:
    """However long it is."""

    async def script(keepalive: StreamKeepalive, _: Any) -> None:
        for _number in range(20):
            await asyncio.sleep(9.9)
            await keepalive.send(b"a")

    assert [body for _, body in sent(script)] == [b"a"] * 20


def test_nobody_speaks_within_an_event() -> None:
    """A comment there would break what it stands in."""

    async def script(keepalive: StreamKeepalive, _: Any) -> None:
        await keepalive.send(b"a")
        await asyncio.sleep(60)

    assert [body for _, body in sent(script, between=False)] == [b"a"]


def test_a_pause_is_noticed_soon_after_an_event_has_ended() -> None:
    """The second half of an event may come in the midst of a pause: the next comment is ten seconds from it."""
    halves = iter([False, False, False, True, True])

    async def main() -> list[float]:
        spoken: list[float] = []

        async def write(chunk: bytes) -> None:
            spoken.append(asyncio.get_running_loop().time())

        keepalive = StreamKeepalive(write, COMMENT, lambda: next(halves), last=0.0, every=10)
        await asyncio.sleep(14)
        keepalive.close()
        return spoken

    assert [round(at) for at in run(main())] == [13]


def test_a_slow_reader_gets_comments_neither_in_between_nor_twice() -> None:
    """While something is being sent the client has bytes to read; and what comes later comes behind the comment."""

    async def script(keepalive: StreamKeepalive, seen: Any) -> None:
        await keepalive.send(b"a")  # until 30
        await asyncio.sleep(11)  # the comment sets out at 40, and arrives at 70
        await keepalive.send(b"b")

    assert sent(script, takes=30) == [(30.0, b"a"), (70.0, COMMENT), (100.0, b"b")]


def test_whoever_leaves_takes_the_comment_along() -> None:
    """One on its way is dropped at the end."""

    async def script(keepalive: StreamKeepalive, _: Any) -> None:
        await asyncio.sleep(15)

    assert sent(script, takes=30) == []
