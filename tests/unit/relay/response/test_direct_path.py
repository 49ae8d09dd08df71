"""A stream is the same on both ways, however it is cut, paused and ended."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from app.api.formats.openai import OpenAIFormat
from app.errors import UpstreamDiedError
from app.relay.record import AnswerMeter
from app.relay.response.forward import forward
from app.relay.response.usage import Usage
from app.relay.response.writer import ResponseWriter, StreamAbortedError
from app.relay.upstream.connection import Connection
from app.relay.upstream.response import UpstreamResponse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TEXT = b'data: {"choices":[{"delta":{"content":"an error, they say"}}]}\n\n'
LONG = b'data: {"choices":[{"delta":{"content":"' + b"w" * 9000 + b'"}}]}\n\n'
COUNTS = b'data: {"choices":[],"usage":{"completion_tokens":3,"prompt_tokens":4}}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"code":500,"message":"full","type":"server_error"}}\n\n'
CRLF = b"data: {}\r\n\r\n"
EVENTS = [TEXT, LONG, COUNTS, DONE, ERROR, CRLF, b":\n\n", b"data: half"]


class Client:
    """What it has got; `direct` is there where `fast`. Its socket is full while it does not read."""

    def __init__(self, *, fast: bool) -> None:
        self.got = b""
        self.directly = 0
        self._room = asyncio.Event()
        self._room.set()
        if fast:
            self.direct = lambda: self._write_now

    async def __call__(self, message: Any) -> None:
        await self._room.wait()
        self.got += message.get("body", b"")

    def reads(self, reads: bool) -> None:
        self._room.set() if reads else self._room.clear()

    def _write_now(self, chunk: bytes) -> bool:
        if not self._room.is_set():
            return False
        self.got += chunk
        self.directly += 1
        return True


class Engine(asyncio.Transport):
    """The gateway's connection to it."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Outcome(NamedTuple):
    got: bytes
    usage: Usage
    aborted: bool


class Destination:
    """An engine of ours, as far as `forward` asks."""

    speculation = None

    async def died(self, how: Exception) -> UpstreamDiedError:
        return UpstreamDiedError(f"The engine {how}.")


async def relayed(parts: list[bytes], full: set[int], *, fast: bool, dies: bool) -> tuple[Outcome, int]:
    """What a client gets of a stream that arrives in `parts`, `full` of which it does not read at once."""
    connection = Connection(lambda _: None)
    connection.connection_made(Engine())
    asking = asyncio.ensure_future(connection.ask(b"GET", None))
    await asyncio.sleep(0)
    connection.data_received(HEAD)
    await asking
    client, meter = Client(fast=fast), AnswerMeter()
    call = SimpleNamespace(headers=[], answer=None)
    destination: Any = Destination()
    response = UpstreamResponse(connection, SimpleNamespace(), destination)  # type: ignore[arg-type]
    writer = ResponseWriter(client, OpenAIFormat(), "r-1")
    forwarding = forward(call, destination, response, writer, meter, comment_every=10)  # type: ignore[arg-type]
    task = asyncio.ensure_future(forwarding)
    for number, part in enumerate(parts):
        client.reads(number not in full)
        if not connection.is_open or task.done():
            break
        connection.data_received(part)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    client.reads(True)
    if dies:
        connection.connection_lost(ConnectionResetError())
    try:
        await task
        aborted = False
    except StreamAbortedError:
        aborted = True
    return Outcome(client.got, meter.usage(), aborted), client.directly


def framed(events: list[bytes], *, ends: bool) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    return chunks + b"0\r\n\r\n" if ends else chunks


@example([TEXT, TEXT, ERROR], [], set(), False)
@example([TEXT, TEXT, TEXT], list(range(400)), set(), True)
@given(
    st.lists(st.sampled_from(EVENTS), max_size=8),
    st.lists(st.integers(0, 3000)),
    st.sets(st.integers(0, 9)),
    st.booleans(),
)
def test_both_ways_give_the_same(events: list[bytes], cuts: list[int], full: set[int], dies: bool) -> None:
    stream = framed(events, ends=not dies)
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    parts = [stream[start:end] for start, end in pairwise(edges) if end > start]

    async def main() -> None:
        slow, _ = await relayed(parts, full, fast=False, dies=dies)
        fast, _ = await relayed(parts, full, fast=True, dies=dies)
        assert fast == slow
        # What is no error, and whole, is what the engine has sent
        if ERROR not in events and not dies:
            assert slow == Outcome(b"".join(events), slow.usage, False)

    asyncio.run(main())


def test_events_behind_the_first_text_take_the_short_way() -> None:
    async def main() -> None:
        parts = [framed([event], ends=False) for event in (CRLF, TEXT, LONG, LONG, COUNTS)]
        _, directly = await relayed([*parts, b"0\r\n\r\n"], set(), fast=True, dies=False)
        assert directly == 3

    asyncio.run(main())


def test_a_chunk_that_the_client_does_not_take_comes_before_the_next() -> None:
    async def main() -> None:
        parts = [framed([event], ends=False) for event in (TEXT, LONG, COUNTS, LONG, DONE)]
        outcome, directly = await relayed([*parts, b"0\r\n\r\n"], {1, 2}, fast=True, dies=False)
        assert outcome.got == TEXT + LONG + COUNTS + LONG + DONE
        assert directly >= 1

    asyncio.run(main())
