"""A connection to a server behind us: what it makes of bytes however they are cut, and of ends that come too early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.relay.upstream import connection as module
from app.relay.upstream.connection import Connection, IncompleteResponseError

HEAD = b"GET / HTTP/1.1\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: late\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + WHOLE


class Transport:
    """What the connection does to its socket, written down."""

    def __init__(self) -> None:
        self.written = b""
        self.unsent = 0
        self.closed = self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: Any) -> None:
        self.written += b"".join(parts)

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert not self.closed
        self.paused = True

    def resume_reading(self) -> None:
        assert not self.closed
        self.paused = False


def with_connection(script: Callable[[Connection, Transport], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        connection, transport = Connection(lambda _: None), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        return await script(connection, transport)

    return asyncio.run(main())


async def body_of(connection: Connection, *pieces: bytes, end: Exception | bool = False) -> bytes:
    """The body of the answer that these pieces are; `end` is what the connection is lost with."""
    asking = asyncio.ensure_future(connection.ask(HEAD, None))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    if end is not False:
        connection.connection_lost(end if isinstance(end, Exception) else None)
    await asking
    body = b""
    while chunk := await connection.read():
        body += chunk
    return body


@given(
    answer=st.sampled_from([WHOLE, CHUNKED, TO_THE_END, CONTINUED]),
    cuts=st.lists(st.integers(0, 160), max_size=8).map(sorted),
)
def test_an_answer_may_be_cut_anywhere(answer: bytes, cuts: list[int]) -> None:
    """Status, headers and body are the same, and so is whether another request may follow."""
    edges = [0, *cuts, len(answer)]
    pieces = [piece for a, b in pairwise(edges) if (piece := answer[a:b])]

    async def script(connection: Connection, transport: Transport) -> None:
        body = await body_of(connection, *pieces, end=answer is TO_THE_END)
        assert (connection.status, body, transport.written) == (200, b"hello", HEAD)
        assert b"X-Trailer" not in dict(connection.headers) and b"Link" not in dict(connection.headers)
        assert connection.reusable is (answer is not TO_THE_END)

    with_connection(script)


@pytest.mark.parametrize("body", [b"x", b"x" * (module.HEAD_BYTES + 1)])
def test_a_request_goes_out_whole(body: bytes) -> None:
    """Small or large."""

    async def script(connection: Connection, transport: Transport) -> None:
        asking = asyncio.ensure_future(connection.ask(HEAD, body))
        await asyncio.sleep(0)
        assert transport.written == HEAD + body
        connection.data_received(WHOLE)
        await asking

    with_connection(script)


def test_one_answer_after_another() -> None:
    """Nothing of the first is left in the second."""

    async def script(connection: Connection, transport: Transport) -> None:
        assert await body_of(connection, WHOLE) == b"hello"
        refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        assert await body_of(connection, refusal) == b""
        assert (connection.status, connection.headers) == (404, [(b"Content-Length", b"0")])
        assert connection.reusable and transport.written == HEAD * 2

    with_connection(script)


@pytest.mark.parametrize(
    ("pieces", "end", "words"),
    [
        ([], None, "closed the connection before it answered"),
        ([b"HTTP/1.1 200 OK\r\n"], None, "closed the connection before it answered"),
        ([], ConnectionResetError(), "reset the connection"),
        ([WHOLE[:-1]], None, "ended its answer early"),
        ([CHUNKED[:-9]], None, "ended its answer early"),
        ([TO_THE_END], ConnectionResetError(), "reset the connection"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], None, "answered with something that is not HTTP/1.1"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"], None, "not HTTP/1.1"),
        ([b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"], None, "not HTTP/1.1"),
        ([CHUNKED[:48] + b"nonsense\r\n"], None, "not HTTP/1.1"),
        ([b"HTTP/1.1 200 OK\r\nA: ", b"x" * module.HEAD_BYTES], None, "headers of more than 65536 bytes"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" * 3000], None, "headers of more than 65536 bytes"),
    ],
)
def test_an_answer_without_its_end_is_none(pieces: list[bytes], end: Exception | None, words: str) -> None:
    """The words say what the server did; the connection is not used again."""

    async def script(connection: Connection, transport: Transport) -> None:
        with pytest.raises(IncompleteResponseError, match=words):
            await body_of(connection, *pieces, end=end or True)
        assert not connection.reusable

    with_connection(script)


def test_what_came_before_an_early_end_is_read_first() -> None:
    """The client gets all that there is."""

    async def script(connection: Connection, transport: Transport) -> None:
        asking = asyncio.ensure_future(connection.ask(HEAD, None))
        await asyncio.sleep(0)
        connection.data_received(WHOLE[:-2])
        connection.connection_lost(None)
        await asking
        assert await connection.read() == b"hel"
        with pytest.raises(IncompleteResponseError):
            await connection.read()

    with_connection(script)


def test_an_answer_that_we_cut_ourselves_has_no_end() -> None:
    """Though its server would have told the end by closing."""

    async def script(connection: Connection, transport: Transport) -> None:
        asking = asyncio.ensure_future(connection.ask(HEAD, None))
        await asyncio.sleep(0)
        connection.data_received(TO_THE_END[:-1])
        await asking
        assert await connection.read() == b"hell"
        connection.abort()
        connection.connection_lost(None)
        with pytest.raises(IncompleteResponseError):
            await connection.read()

    with_connection(script)


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\r\n", b"x"])
@pytest.mark.parametrize("together", [True, False])
def test_words_that_nobody_asked_for_are_no_answer(extra: bytes, together: bool) -> None:
    """Else the next client would get them: the connection is cut, and the answer before them stays good."""

    async def script(connection: Connection, transport: Transport) -> None:
        pieces = [WHOLE + extra] if together else [WHOLE, extra]
        assert await body_of(connection, *pieces) == b"hello"
        if together and extra == b"\r\n":
            return  # llhttp skips empty lines between messages
        assert transport.closed and not connection.reusable

    with_connection(script)


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE.replace(b"Content-Type: text/plain", b"Connection: close"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_server_that_will_close_is_not_asked_again(answer: bytes) -> None:
    """It says so, or is of HTTP/1.0."""

    async def script(connection: Connection, transport: Transport) -> None:
        assert await body_of(connection, answer) == b"hello"
        assert not connection.reusable

    with_connection(script)


def test_a_server_that_answers_before_it_has_read_the_request_is_not_asked_again() -> None:
    """The rest of the request is still on its way: it would be read as the next one."""

    async def script(connection: Connection, transport: Transport) -> None:
        transport.unsent = 1
        assert await body_of(connection, WHOLE) == b"hello"
        assert not connection.reusable

    with_connection(script)


def test_a_slow_reader_makes_the_server_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so much of an answer lies here; what is read makes room again."""
    monkeypatch.setattr(module, "HIGH_WATER", 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"

    async def script(connection: Connection, transport: Transport) -> None:
        asking = asyncio.ensure_future(connection.ask(HEAD, None))
        await asyncio.sleep(0)
        connection.data_received(head + b"x" * 100)
        assert not transport.paused
        connection.data_received(b"x")
        assert transport.paused
        await asking
        assert len(await connection.read()) == 101
        assert not transport.paused

    with_connection(script)


def test_a_reader_that_leaves_may_come_back() -> None:
    """A wait that is cancelled loses nothing."""

    async def script(connection: Connection, transport: Transport) -> None:
        asking = asyncio.ensure_future(connection.ask(HEAD, None))
        await asyncio.sleep(0)
        connection.data_received(WHOLE[:-5])
        await asking
        reading = asyncio.ensure_future(connection.read())
        await asyncio.sleep(0)
        reading.cancel()
        connection.data_received(b"hello")
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await connection.read() == b"hello"

    with_connection(script)
