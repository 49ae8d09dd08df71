"""`/api/chat` and its like: the relay between a translated request and a translated answer.

The relay does what it always does (lease, the client's leaving, metrics, honest ends); it sees a request to
llama-server, and its own words come in Ollama's shape.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from app.api.formats.ollama import OllamaFormat
from app.api.formats.status_codes import http_error
from app.api.ollama.request import OllamaRequest, translate
from app.api.ollama.response import Pieces, loaded, whole
from app.errors import UpstreamDiedError
from app.relay.headers import Headers
from app.relay.relay import Relay
from app.relay.request.body import Message, Receive, read_body
from app.relay.request.scope import Scope
from app.relay.response.writer import Send, StreamAbortedError

_LINES = b"application/x-ndjson"
_OF_BODY = (b"content-type", b"content-length", b"x-accel-buffering")
_BROKEN = UpstreamDiedError("The engine's answer ended before its end.")


class Door:
    """An ASGI callable for Ollama's completions."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.api_format = OllamaFormat()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        headers = [(n, v) for n, v in scope["headers"] if n != b"content-type"]
        scope = scope | {"headers": [*headers, (b"content-type", b"application/json")], "query_string": b""}
        translation = _Translation(scope, receive, send, self.api_format, request_id)
        translation.limit = self._relay.max_body
        try:
            await self._relay(
                scope, translation.receive, translation.send, api_format=self.api_format, request_id=request_id
            )
        except StreamAbortedError as error:
            if not translation.holds_back:
                raise
            await translation.refuse(UpstreamDiedError(str(error)))


class _Translation:
    """One request: what the relay receives and sends, and what the client sent and is sent."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, api_format: OllamaFormat, request_id: str) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._api_format = api_format
        self._request_id = request_id
        self._began = time.perf_counter()
        self.limit = 0
        self._request: OllamaRequest | None = None
        # The answer: translated as it comes, or kept to its end
        self._pieces: Pieces | None = None
        self._start: Message | None = None
        self._held_back: list[bytes] = []

    @property
    def holds_back(self) -> bool:
        """Whether the client has been told nothing yet of an answer that has begun."""
        return self._start is not None

    async def receive(self) -> Message:
        """First the translated body, then whatever comes."""
        if self._request is not None:
            return await self._receive()
        body = await read_body(self._receive, None, self.limit)
        self._request = request = translate(self._scope["path"], body)
        # The relay looks at the path after the body.
        self._scope["path"], self._scope["raw_path"] = request.target, request.target.encode()
        return {"type": "http.request", "body": msgspec.json.encode(request.body), "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._pieces is not None:
            await self._stream(message)
        elif self._start is not None:
            self._held_back.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._whole()
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        request = self._request
        if request is None or message["status"] >= 400:
            await self._send(message)
        elif request.stream and not request.loading:
            self._pieces = Pieces(request, self._began)
            await self._send({**message, "headers": _with(message["headers"], (b"content-type", _LINES))})
        else:
            self._start = message

    async def _stream(self, message: Message) -> None:
        assert self._pieces is not None
        lines, more = self._pieces.feed(message.get("body", b"")), message.get("more_body", False)
        if lines or not more:
            last = b"" if more else self._pieces.finish()
            if last is None:
                error = self._api_format.body(str(_BROKEN), http_error(_BROKEN)) + b"\n"
                await self._send({"type": "http.response.body", "body": lines + error, "more_body": True})
                raise StreamAbortedError(str(_BROKEN))
            await self._send({"type": "http.response.body", "body": lines + last, "more_body": more})

    async def _whole(self) -> None:
        assert self._start is not None and self._request is not None
        try:
            body = (
                loaded(self._request)
                if self._request.loading
                else whole(self._request, b"".join(self._held_back), self._began)
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            await self.refuse(UpstreamDiedError("The engine's answer cannot be read."))
            return
        kind = _LINES if self._request.stream else b"application/json"
        length = (b"content-length", str(len(body)).encode())
        start, self._start = self._start, None
        await self._send({**start, "headers": _with(start["headers"], (b"content-type", kind), length)})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def refuse(self, error: Exception) -> None:
        """The whole answer is an error after all."""
        self._start = None
        writer = self._api_format.error(error, request_id=self._request_id)
        await self._send({"type": "http.response.start", "status": writer.status, "headers": writer.headers})
        await self._send({"type": "http.response.body", "body": writer.body, "more_body": False})


def _with(headers: Headers, *more: tuple[bytes, bytes]) -> list[Any]:
    return [*((name, value) for name, value in headers if name not in _OF_BODY), *more]
