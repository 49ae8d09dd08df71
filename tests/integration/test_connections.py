"""Limits of one connection, on sockets: a server of this protocol alone, with limits that a test can wait for."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from app.server.protocol import ConnectionLimits
from tests.support.protocol_server import World, serving

LIMITS = ConnectionLimits(head_bytes=2000, head_s=0.4, body_s=0.4, unread_s=0.4, linger_s=0.4, connections=4)
PATIENT = ConnectionLimits(head_bytes=2000, head_s=30, body_s=30, unread_s=30, linger_s=30, connections=4)
OK = b"HTTP/1.1 200 OK"


def run(test: Callable[[World], Awaitable[None]], limits: ConnectionLimits = LIMITS) -> World:
    return serving(test, limits)


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and code of a whole answer; the body must be what its length says."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head and b"content-length: %d" % len(body) in head
    return int(head.split()[1]), json.loads(body)["error"]["code"]


SLOW_HEAD, SLOW_BODY = b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"


@pytest.mark.parametrize("beginning", [SLOW_HEAD, SLOW_BODY], ids=["head", "body"])
def test_a_client_that_sends_byte_after_byte_is_told_and_closed(beginning: bytes) -> None:
    """Every byte is in time, the request is not; others are answered meanwhile."""

    async def test(world: World) -> None:
        slow, other = await (await world.open()).sent(beginning), await world.open()

        async def trickle() -> None:
            for _ in range(200):
                await slow.sent(b"a")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert (await other.ask()).startswith(OK)
        assert refusal(await slow.everything()) == (408, "request_timeout")
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)

    run(test)


@pytest.mark.parametrize("said", [b"", b"\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n\r\n"])
def test_a_connection_that_asks_nothing_is_closed(said: bytes) -> None:
    """At its beginning, and after an answer; an empty line is no request."""

    async def test(world: World) -> None:
        answer = await (await (await world.open()).sent(said)).everything()
        assert answer == b"" or answer.startswith(OK)

    run(test)


@pytest.mark.parametrize("size", [300, 100_000])
@pytest.mark.parametrize("where", ["line", "name", "value", "many"])
def test_a_head_has_its_size(where: str, size: int) -> None:
    """In one header or in many, in the line itself, whole or cut at any place."""
    parts = {
        "line": b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a" * size),
        "name": b"GET / HTTP/1.1\r\nhost: x\r\n%s: v\r\n\r\n" % (b"a" * size),
        "value": b"GET / HTTP/1.1\r\nhost: x\r\na: %s\r\n\r\n" % (b"v" * size),
        "many": b"GET / HTTP/1.1\r\nhost: x\r\n%s\r\n" % (b"a: b\r\n" * (size // 6)),
    }

    async def test(world: World) -> None:
        client = await world.open()
        await client.sent(parts[where])
        answer = await client.everything()
        assert answer.startswith(OK) if size == 300 else refusal(answer) == (431, "headers_too_large")

    run(test)


def test_trailers_are_no_headers() -> None:
    """What comes behind the body was there when nobody looked, and fills no memory."""
    body = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n%s\r\n"

    async def test(world: World) -> None:
        assert OK in await (await (await world.open()).sent(body % (b"authorization: Bearer x\r\n"))).everything()
        assert world.headers == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]

    run(test)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        b"content-length: 4\r\ncontent-length: 40\r\n",
        b"content-length: 4, 40\r\n",
        b"content-length: +4\r\n",
        b"content-length: 0x4\r\n",
        b"content-length: -4\r\n",
        b"content-length: 4 4\r\n",
        b"content-length : 4\r\n",
        b"content-length: 99999999999999999999\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: identity\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        b"transfer-encoding:\r\n chunked\r\n",
        b"x: a\r\n folded: b\r\n",
        b" x: a\r\n",
        b"x: a\n",
        b"x: a\nhost: y\r\n",
        b"x: a\rb\r\n",
        b"x: a\x00b\r\n",
        b"x y: a\r\n",
        b"host: y\r\n",
    ],
)
def test_a_request_that_two_servers_could_read_differently_is_refused(head: bytes) -> None:
    """And with it the connection: nothing behind it is a request of anybody's."""

    async def test(world: World) -> None:
        client = await world.open()
        await client.sent(b"POST / HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n" + SMUGGLED)
        answer = await client.everything()
        assert refusal(answer) == (400, "invalid_http")
        assert answer.count(b"HTTP/1.1 4") == 1

    assert run(test).headers == []


@pytest.mark.parametrize("size", [b"g", b"-1", b"0x1", b"1 ", b"+1", b"ffffffffffffffffff", b"1\n"])
def test_a_chunk_of_no_clear_size_ends_the_connection(size: bytes) -> None:
    """The application never sees a whole body."""

    async def test(world: World) -> None:
        client = await world.open()
        head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        await client.sent(head + size + b"\r\na\r\n0\r\n\r\n" + SMUGGLED)
        assert refusal(await client.everything()) == (400, "invalid_http")

    assert run(test).bodies == []


def test_garbage_behind_a_request_is_told_in_nobodys_answer() -> None:
    """The connection ends; no second head stands within the first's answer."""

    async def test(world: World) -> None:
        client = await world.open()
        await client.sent(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
        await client.reader.read(1)
        await client.sent(b"garbage\r\n\r\n")
        assert b"HTTP/1.1 400" not in await client.everything()
        await world.until(lambda: world.left == 1)

    run(test)


def test_an_answer_before_the_body_is_seen_and_the_rest_thrown_away() -> None:
    """A body of any length is not read to its end for that."""

    async def test(world: World) -> None:
        client = await world.open()
        await client.sent(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 100_000)
        assert (await client.everything()).startswith(OK)

    assert run(test).bodies == []


def test_a_connection_whose_answer_came_first_goes_on() -> None:
    """Clients send head and body apart, and use the connection again, whatever the answer was."""

    async def test(world: World) -> None:
        client = await world.open()
        for _ in range(3):
            await client.sent(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n")
            assert (await client.reader.read(65536)).startswith(OK)
            await client.sent(b"ab")
        assert (await client.ask()).startswith(OK)
        assert b"HTTP" not in await client.everything()

    run(test)


@pytest.mark.parametrize("cut", [0, 10, 60, 150, -1], ids=str)
def test_an_offer_of_http_2_is_answered_in_http_1(cut: int) -> None:
    """As curl --http2 and Java's client make it, cut anywhere: the body is the body, and the connection goes on."""
    offer = b"host: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQ\r\n"
    request = b"POST / HTTP/1.1\r\n" + offer + b"content-length: 35\r\n\r\n" + SMUGGLED

    async def test(world: World) -> None:
        client = await world.open()
        await client.sent(request[:cut])
        await asyncio.sleep(0.02)
        await client.sent(request[cut:])
        assert (await client.reader.read(65536)).startswith(OK)
        assert (await client.ask()).startswith(OK)

    assert run(test, PATIENT).bodies == [SMUGGLED, b""]


def test_a_client_that_reads_nothing_is_cut() -> None:
    """The application learns of it as of any that leaves, and others are answered meanwhile."""

    async def test(world: World) -> None:
        slow, other = await world.open(), await world.open()
        await slow.sent(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await other.ask()).startswith(OK)
        await world.until(lambda: world.left == 1)

    run(test)


def test_the_longest_idle_connection_makes_room() -> None:
    """One in the midst of an answer never does, and where all are, a new one is told so."""

    async def test(world: World) -> None:
        idle = [await world.open() for _ in range(4)]
        assert (await idle[0].ask()).startswith(OK)  # waits anew from here
        fifth = await world.open()
        assert await idle[1].everything() == b""
        assert (await fifth.ask()).startswith(OK) and (await idle[0].ask()).startswith(OK)
        busy = [idle[0], idle[2], idle[3], fifth]
        for client in busy:
            await client.sent(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
            await client.reader.read(1)
        assert refusal(await (await world.open()).everything()) == (503, "too_many_connections")

    run(test, PATIENT)
