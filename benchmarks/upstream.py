"""A scripted upstream: llama-server's answers without a model, cheap enough never to be the bottleneck.

`POST /v1/chat/completions` takes its script from the body: `max_tokens` events where `stream` is true, as fast
as they are read or at `events_per_second`. Prints the port that it listens on, then serves until it is ended.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
from typing import Any, cast

import msgspec
import uvloop

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Streams paced alike start at different points of the beat, as those of several engines would: this fraction
# of an interval further each time spreads any number of them evenly.
_GOLDEN = 0.618034

_ORIGIN = b"Server: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n"
_SAME = {"created": 1767225600, "id": "chatcmpl-bench", "model": "bench", "system_fingerprint": "b11434-bench"}
_TIMINGS = {
    "cache_n": 0,
    "prompt_n": 12,
    "prompt_ms": 21.5,
    "prompt_per_token_ms": 1.79,
    "prompt_per_second": 558.1,
    "predicted_n": 16,
    "predicted_ms": 160.0,
    "predicted_per_token_ms": 10.0,
    "predicted_per_second": 100.0,
}


def _json_answer(status: str, content: Any) -> bytes:
    body = msgspec.json.encode(content)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + _ORIGIN + b"\r\n" + body


def _chunk(*events: bytes) -> bytes:
    data = b"".join(b"data: " + event + b"\n\n" for event in events)
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"finish_reason": more.pop("finish_reason", None), "index": 0, "delta": delta}
    return msgspec.json.encode({"choices": [choice], **_SAME, "object": "chat.completion.chunk", **more})


def _usage(completion_tokens: int) -> dict[str, int]:
    return {"completion_tokens": completion_tokens, "prompt_tokens": 12, "total_tokens": completion_tokens + 12}


_MESSAGE = {"role": "assistant", "content": "A tandem is a bicycle for two riders, one behind the other."}
ANSWER = _json_answer(
    "200 OK",
    {
        "choices": [{"finish_reason": "stop", "index": 0, "message": _MESSAGE}],
        **_SAME,
        "object": "chat.completion",
        "usage": _usage(16),
        "timings": _TIMINGS,
    },
)
HEALTHY = _json_answer("200 OK", {"status": "ok"})
MODELS = _json_answer("200 OK", {"object": "list", "data": [{"id": "bench", "object": "model"}]})
NOT_FOUND = _json_answer("404 Not Found", {"error": {"code": 404, "message": "File Not Found"}})
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n" + _ORIGIN + b"\r\n"
)
EVENT = _chunk(_event({"content": " tandem"}))


def _ending(events: int) -> bytes:
    last = _event({}, finish_reason="stop", usage=_usage(events), timings=_TIMINGS)
    return _chunk(last) + _chunk(b"[DONE]") + b"0\r\n\r\n"


class _Stream:
    """One streamed answer: an event a write, as llama-server sends them."""

    def __init__(self, transport: asyncio.Transport, events: int, per_second: float, phase: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._total = self._left = events
        self._interval = 1 / per_second if per_second else 0.0
        self._due = self._loop.time() + phase * self._interval
        self._paused = self._waiting = False
        transport.write(STREAM_HEAD)
        self._next()

    def pause(self, paused: bool) -> None:
        self._paused = paused
        if not paused and self._waiting:
            self._waiting = False
            self._next()

    def stop(self) -> None:
        self._left = -1

    def _next(self) -> None:
        if self._left < 0:
            return
        if self._paused:
            self._waiting = True
            return
        if self._left == 0:
            self._left = -1
            self._transport.write(_ending(self._total))
            return
        self._left -= 1
        self._transport.write(EVENT)
        if self._interval:
            self._due += self._interval
            self._loop.call_at(self._due, self._next)
        else:
            self._loop.call_soon(self._next)


class Upstream(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    _phases = itertools.count()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._received = b""
        self._stream: _Stream | None = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_ends = self._received.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        length = _CONTENT_LENGTH.search(self._received, 0, head_ends)
        body_ends = head_ends + 4 + (int(length[1]) if length else 0)
        if len(self._received) < body_ends:
            return
        path, body = self._received.split(b" ", 2)[1], self._received[head_ends + 4 : body_ends]
        self._received = self._received[body_ends:]
        self._answer(path, body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path != b"/v1/chat/completions":
            self._transport.write({b"/health": HEALTHY, b"/v1/models": MODELS}.get(path, NOT_FOUND))
            return
        script = msgspec.json.decode(body)
        if not script.get("stream"):
            self._transport.write(ANSWER)
            return
        phase = next(self._phases) * _GOLDEN % 1
        self._stream = _Stream(self._transport, script["max_tokens"], script.get("events_per_second", 0), phase)

    def pause_writing(self) -> None:
        if self._stream:
            self._stream.pause(True)

    def resume_writing(self) -> None:
        if self._stream:
            self._stream.pause(False)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._stream:
            self._stream.stop()


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(uvloop.run(_main()))
