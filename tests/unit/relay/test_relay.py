"""The relay between a scripted upstream and a client that listens, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from app.api.formats.openai import OpenAIFormat
from app.api.ollama.relay import OllamaRelay
from app.config.model_entry import AttachedEntry
from app.config.settings import Settings
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.records.metrics import Metrics
from app.relay.record import RequestRecord
from app.relay.relay import Relay
from app.relay.request.parse import Call, CallReader
from app.relay.response.usage import UsageTap
from app.relay.upstream.destination import Destination
from app.scheduler.queue import Ticket
from tests.support.clock import run

TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
BODY = b'{"stream": true, "messages": [{"role": "user", "content": "x"}]}'


class Upstream(Destination):
    """Headers after `headers_after` seconds; then each chunk after its pause."""

    def __init__(self, chunks: Sequence[tuple[float, bytes]], *, headers_after: float, kind: bytes) -> None:
        super().__init__("a", "http://other:1", None)
        self._chunks = chunks
        self._headers_after = headers_after
        self.status = 200
        self.content_type = kind
        self.raw_headers = ((b"content-type", kind),)
        # Leases and connections
        self.held = self.open = 0

    # What the relay asks of its router, its client and the answer
    def waiting_for(self, ref: ModelRef, ticket: Ticket) -> str:
        return "waiting for the engine"

    async def destination(self, call: Call, ticket: Ticket) -> Destination:
        self.held += 1
        return self

    def release(self) -> None:
        self.held = 0

    async def ask(self, destination: Destination, call: Call, listen: Callable[..., UsageTap]) -> Any:
        await asyncio.sleep(self._headers_after)
        self.open += 1
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        for pause, chunk in self._chunks:
            await asyncio.sleep(pause)
            yield chunk

    def close(self) -> None:
        self.open -= 1


def heard(
    *chunks: tuple[float, bytes],
    headers_after: float = 0,
    kind: bytes = b"text/event-stream",
    path: str = "/v1/chat/completions",
) -> list[tuple[float, bytes]]:
    """What the client got, and when, in seconds; headers as an empty one."""
    got: list[tuple[float, bytes]] = []

    async def main() -> None:
        upstream: Any = Upstream(chunks, headers_after=headers_after, kind=kind)
        calls = CallReader(Catalog(Settings(models={"a": AttachedEntry(url="http://other:1")})), max_body=1 << 20)
        relay = Relay(calls, upstream, upstream, Metrics(), report=lambda _: None)
        scope = {"method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
        coming = [{"type": "http.request", "body": BODY, "more_body": False}]

        async def receive() -> Any:
            return coming.pop() if coming else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            got.append((asyncio.get_running_loop().time(), message.get("body", b"")))

        if path.startswith("/api/"):
            await OllamaRelay(relay)(scope, receive, send, request_id="r-1")
        else:
            await relay(scope, receive, send, api_format=OpenAIFormat(), request_id="r-1")

    run(main())
    return got


def silences(got: list[tuple[float, bytes]]) -> list[float]:
    times = [at for at, _ in got]
    return [later - earlier for earlier, later in pairwise(times)]


@pytest.mark.parametrize(
    ("headers_after", "pauses"),
    [(0, (60, 60)), (4.9, (12, 300)), (14.5, (9.9, 25)), (33, (0, 90))],
)
def test_a_client_of_a_stream_waits_ten_seconds_for_a_byte_and_no_longer(
    headers_after: float, pauses: tuple[float, float]
) -> None:
    """In the queue, while a model loads, in the prompt, and in the midst of an answer."""
    got = heard((pauses[0], TOKEN), (pauses[1], LAST), headers_after=headers_after)
    assert max(silences(got)) < 10.1
    assert got[0][0] <= 5.0
    bodies = b"".join(body for _, body in got)
    assert bodies.replace(b": waiting for the engine\n\n", b"") == TOKEN + LAST
    assert bodies.count(b": waiting") >= 4


def test_a_comment_never_stands_within_an_event() -> None:
    """A pause there is left as it is."""
    got = heard((1, TOKEN[:20]), (35, TOKEN[20:]), (15, LAST))
    bodies = b"".join(body for _, body in got)
    assert bodies == TOKEN + b": waiting for the engine\n\n" + LAST


def test_what_is_no_event_stream_gets_no_comments() -> None:
    """They would be part of the answer."""
    got = heard((60, b'{"a":'), (60, b"1}"), kind=b"application/json")
    assert b"".join(body for _, body in got) == b'{"a":1}'


def test_ollamas_clients_get_empty_pieces() -> None:
    """Lines of JSON have no comments."""
    got = heard((30, TOKEN), (30, LAST), path="/api/chat")
    assert max(silences(got)) < 10.1
    pieces = [body for _, body in got if b'"content":""' in body and b'"done":false' in body]
    assert len(pieces) >= 4


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("leaves_after", [3, 6, 7, 8, 20, 40])
def test_a_client_that_leaves_has_nothing_held_for_it(leaves_after: float, streaming: bool) -> None:
    """In the queue, in the very turn in which the headers come (7 s), in the answer, and after it."""

    async def main() -> None:
        upstream: Any = Upstream([(1, TOKEN), (20, LAST)], headers_after=7, kind=b"text/event-stream")
        calls = CallReader(Catalog(Settings(models={"a": AttachedEntry(url="http://other:1")})), max_body=1 << 20)
        records: list[RequestRecord] = []
        relay = Relay(calls, upstream, upstream, Metrics(), report=records.append)
        scope = {"method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": []}
        coming = [BODY if streaming else b"{}"]

        async def receive() -> Any:
            if coming:
                return {"type": "http.request", "body": coming.pop(), "more_body": False}
            await asyncio.sleep(leaves_after - asyncio.get_running_loop().time())
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        await relay(scope, receive, send, api_format=OpenAIFormat(), request_id="r-1")
        assert (upstream.held, upstream.open) == (0, 0)
        [record] = records
        assert record.finished.status == (200 if leaves_after == 40 else 499)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run(main())
