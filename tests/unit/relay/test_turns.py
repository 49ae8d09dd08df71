"""No turn of the event loop takes long: for bodies of a mebibyte, for streams in bursts, and in every API."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app.relay.response.usage import UsageTap
from app.relay.upstream.connection import Connection
from app.relay.upstream.response import UpstreamResponse
from tests.support.loop_watch import LoopWatch, check_turns
from tests.support.scripted_engine import PATHS, ScriptedEngine, asked

MEBIBYTE = 1 << 20


def chat(content: Any, **more: Any) -> bytes:
    body = {"model": "m", "stream": True, "max_tokens": 5, "messages": [{"role": "user", "content": content}]}
    return json.dumps(body | more).encode()


def asked_of(path: str, content: Any) -> bytes:
    """The same in the API of a path."""
    if path == "/v1/responses":
        return chat("x", input=[{"role": "user", "content": content}])
    if path == "/v1/completions":
        return chat("x", prompt=content)
    return chat(content)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (MEBIBYTE * 9 // 10)}}
WHOLE = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], %s}'
BODIES: dict[str, bytes] = {
    "text": chat("word, " * (MEBIBYTE // 8)),
    "text, another script": chat("字" * (MEBIBYTE // 7)),
    "escapes": b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"' + rb"\n\"" * 200_000 + b'"}]}',
    "halves of pairs": WHOLE % (b'"a": "' + rb"\ud800" * 170_000 + b'"'),
    "backslashes": WHOLE % (b'"a": "' + b"\\" * MEBIBYTE + b'"'),
    "an image": chat([IMAGE]),
    "an image, whole": chat([IMAGE], stream=False),
    "brackets": WHOLE % (b'"a": ' + b"[" * MEBIBYTE),
    "closed brackets": WHOLE % (b'"tools": ' + b"[" * 500_000 + b"]" * 500_000),
    "empty arrays": WHOLE % (b'"a": [' + b"[]," * 340_000 + b"1]"),
    "empty objects": WHOLE % (b'"tools": [' + b"{}," * 340_000 + b"{}]"),
    "numbers": WHOLE % (b'"a": [' + b"1," * 500_000 + b"1]"),
    "a number": WHOLE % (b'"a": ' + b"9" * MEBIBYTE),
    "fields": WHOLE % b",".join(b'"k%d": 1' % i for i in range(90_000)),
    "blanks": b" " * MEBIBYTE + WHOLE % b'"a": 1',
    "messages": chat("x", messages=[{"role": "user", "content": "x"}] * 29_000),
    "parts": chat("x", messages=[{"role": "user", "content": [{"type": "text", "text": "x"}] * 30_000}]),
    "nulls": chat("x", messages=[{"role": "user", "content": "x", "name": None}] * 18_000),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", PATHS[:2])
def test_a_body_of_a_mebibyte_is_read_in_short_turns(path: str, name: str) -> None:
    assert len(BODIES[name]) < 1.2 * MEBIBYTE
    check_turns(asked(path, BODIES[name], DONE))


CONTENTS = {
    "text": "word, " * (MEBIBYTE // 8),
    "another script": "字" * (MEBIBYTE // 7),
    "escapes": '\n"' * 250_000,
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("path", PATHS[2:])
def test_a_translated_body_of_a_mebibyte_is_read_in_short_turns(path: str, name: str) -> None:
    """Of text, as clients have it."""
    check_turns(asked(path, asked_of(path, CONTENTS[name]), DONE))


@pytest.mark.parametrize("mebibytes", [4, 24])
def test_a_larger_body_is_read_in_short_turns(mebibytes: int) -> None:
    """In slices, and in another process where it has to be decoded."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (mebibytes * MEBIBYTE)}}
    check_turns(asked(PATHS[0], chat([image]), DONE))
    check_turns(asked(PATHS[0], chat([image], n=2), DONE))


DONE = b"data: [DONE]\n\n"


def burst(*events: Any) -> bytes:
    """Half a mebibyte of these events in one chunk, as an engine sends that was not read for a while."""
    text = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return text * (MEBIBYTE // 2 // len(text))


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


STREAMS: dict[str, bytes] = {
    "tokens": burst(delta(content="x")),
    "empty objects": burst({}),
    "thoughts": burst(delta(reasoning_content="x")),
    "pieces of a call": burst(delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": "["}}])),
    "one event": b"data: " + json.dumps(delta(content="x" * (MEBIBYTE // 2))).encode() + b"\n\n",
    "line feeds": b"\n" * (MEBIBYTE // 2),
    "comments": b": x\n\n" * 100_000,
    "probabilities": burst(delta(content="x") | {"logprobs": {"content": [{"token": "x", "logprob": -1.0}] * 20}}),
    "errors in text": burst(delta(content="error")),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("path", PATHS)
def test_a_burst_of_a_stream_is_passed_on_in_short_turns(path: str, name: str) -> None:
    check_turns(asked(path, asked_of(path, "x"), STREAMS[name], DONE))


@pytest.mark.parametrize("name", STREAMS)
def test_a_burst_is_assembled_in_short_turns(name: str) -> None:
    """An answer in one piece that is read as a stream."""

    async def main() -> None:
        connection: Any = Connection(lambda _: None)
        connection.status, connection.headers = 200, [(b"content-type", b"text/event-stream")]
        connection._received, connection._complete = [STREAMS[name], DONE], True
        pool: Any = None
        response = UpstreamResponse(connection, pool, ScriptedEngine([]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(UpstreamResponse, "close", lambda _: None)
            try:
                await response.assemble(UsageTap)
            except Exception as error:
                assert "Died" in type(error).__name__, error

    check_turns(main)


def test_a_burst_in_small_http_chunks_is_taken_in_a_short_turn() -> None:
    """uvloop reads up to 256 KB at once."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n"
    data = head + b"8\r\ndata: 1\n\r\n" * 18_000

    async def main() -> None:
        connection = Connection(lambda _: None)
        transport: Any = type("Transport", (), {"write": lambda *_: None, "is_closing": lambda _: False})()
        transport.pause_reading = lambda: None
        connection.connection_made(transport)
        asking = asyncio.ensure_future(connection.ask(b"GET / HTTP/1.1\r\n\r\n", None))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(connection.data_received, data)
        await asking

    check_turns(main, 0.02)


def test_the_watch_sees_a_long_turn() -> None:
    async def main() -> None:
        sum(range(2_000_000))

    watch = LoopWatch()
    watch.run(main())
    assert watch.longest > 0.005 and watch.turns > 0
    with pytest.raises(AssertionError, match="a turn of"):
        check_turns(main, 0.0001)
