"""Relays `/api/chat` and Ollama's other completions, with translated requests and answers.

The relay works as always (lease, disconnects, metrics, broken streams). It sees a request to llama-server, and its own
messages get Ollama's format.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from app.api.formats.ollama import OllamaFormat
from app.api.formats.status_codes import http_error
from app.api.ollama.request import FOR_GOOD, OWN_NAMES, OllamaRequest, translate
from app.api.ollama.response import Pieces, loaded, whole
from app.api.translated.places import refusal_in_own_places
from app.auth.guard import KEY, client_of
from app.errors import RequestError, TandemError, UpstreamDiedError
from app.relay.headers import Headers
from app.relay.relay import Relay
from app.relay.request.body import ClientDisconnectedError, Message, Receive, read_body
from app.relay.request.json_text import readable_in_steps
from app.relay.request.scan import refuse_deep_nesting
from app.relay.request.scope import Scope
from app.relay.response.writer import Send, StreamAbortedError
from app.relay.turns import a_turn_for, in_turns, parts_in_turns
from app.scheduler.queue import Ticket

_LINES = b"application/x-ndjson"
_OF_BODY = (b"content-type", b"content-length", b"x-accel-buffering")
_BROKEN = UpstreamDiedError("The engine's answer ended before its end.")


class OllamaRelay:
    """An ASGI callable for Ollama's completions."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.api_format = OllamaFormat()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        headers = [(n, v) for n, v in scope["headers"] if n != b"content-type"]
        scope = scope | {"headers": [*headers, (b"content-type", b"application/json")], "query_string": b""}
        translation = _Translation(scope, receive, send, self.api_format, request_id)
        request = await translation.read(self._relay)
        if request is not None and request.unloading and await self._unloaded(translation, request, scope):
            return
        try:
            await self._relay(
                scope,
                translation.receive,
                translation.send,
                api_format=self.api_format,
                request_id=request_id,
                ticket=translation.ticket,
            )
        except StreamAbortedError as error:
            if not translation.holds_back:
                raise
            await translation.refuse(UpstreamDiedError(str(error)))

    async def _unloaded(self, translation: _Translation, request: OllamaRequest, scope: Scope) -> bool:
        """Answers a request to unload. The relay reports unknown names."""
        try:
            unloaded = self._relay.unload_unless_used(request.model or None, scope)
        except RequestError:
            return False
        await translation.answer(loaded(request, "unload" if unloaded else "load"))
        return True


class _Translation:
    """One request: the relay's side (receive, send) and the client's."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, api_format: OllamaFormat, request_id: str) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._api_format = api_format
        self._request_id = request_id
        self._began = time.perf_counter()
        # The request, or the error of reading it. The relay gets either one, as if it had read the body
        self._request: OllamaRequest | None = None
        self._failure: Exception | None = None
        self._given = False
        self.ticket = Ticket(client_of(scope))
        # The answer: translated as it arrives, or held until its end
        self._pieces: Pieces | None = None
        self._start: Message | None = None
        self._refusal: Message | None = None
        self._held_back: list[bytes] = []

    @property
    def holds_back(self) -> bool:
        """Tells whether an answer has begun of which the client has received nothing."""
        return self._start is not None

    async def read(self, relay: Relay) -> OllamaRequest | None:
        """Reads the request within the limits of the relay, which reports an invalid one. Then returns None."""
        try:
            body = await in_turns(readable_in_steps(await read_body(self._receive, None, relay.max_body)))
            relay.refuse_edit(body)
            await in_turns(refuse_deep_nesting(body))
            await a_turn_for(body)
            self._request = translate(self._scope["path"], body)
            await a_turn_for(body)
        except (TandemError, ClientDisconnectedError, RecursionError) as error:
            self._failure = error
            return None
        keep_alive, key = self._request.keep_alive, self._scope.get(KEY)
        self.ticket.pins = keep_alive == FOR_GOOD and key is not None and key.admin
        self.ticket.keep_alive = None if keep_alive == FOR_GOOD else keep_alive
        return self._request

    async def receive(self) -> Message:
        """Returns the translated body first, then the client's messages."""
        if self._failure is not None:
            raise self._failure
        request = self._request
        if self._given or request is None:
            return await self._receive()
        self._given = True
        # The relay reads the path after the body.
        self._scope["path"], self._scope["raw_path"] = request.target, request.target.encode()
        return {"type": "http.request", "body": msgspec.json.encode(request.body), "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._pieces is not None:
            await self._stream(message)
        elif self._refusal is not None:
            self._held_back.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._refused(self._refusal)
        elif self._start is not None:
            self._held_back.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._whole()
        else:
            await self._send(message)

    async def answer(self, body: bytes) -> None:
        """Sends a complete answer without the relay."""
        assert self._request is not None
        kind = _LINES if self._request.stream else b"application/json"
        request_id = (b"x-request-id", self._request_id.encode("latin-1"))
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), request_id]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _begin(self, message: Message) -> None:
        request = self._request
        if request is None:
            await self._send(message)
        elif message["status"] >= 400:
            self._refusal = message
        elif request.stream and not request.loading:
            self._pieces = Pieces(request, self._began)
            await self._send({**message, "headers": _with(message["headers"], (b"content-type", _LINES))})
        else:
            self._start = message

    async def _refused(self, start: Message) -> None:
        """Sends a refusal with the places of the client's own request."""
        chat = self._request.body if self._request is not None else {}
        body = refusal_in_own_places(b"".join(self._held_back), chat, OWN_NAMES)
        self._refusal = None
        length = (b"content-length", str(len(body)).encode())
        await self._send({**start, "headers": _with(start["headers"], (b"content-type", b"application/json"), length)})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, message: Message) -> None:
        chunk, read = message.get("body", b""), 0
        async for part in parts_in_turns(chunk):
            read += len(part)
            await self._part(part, more=message.get("more_body", False) or read < len(chunk))

    async def _part(self, chunk: bytes, *, more: bool) -> None:
        assert self._pieces is not None
        lines = self._pieces.feed(chunk)
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
        """Replaces the complete answer by an error."""
        self._start = None
        writer = self._api_format.error(error, request_id=self._request_id)
        await self._send({"type": "http.response.start", "status": writer.status, "headers": writer.headers})
        await self._send({"type": "http.response.body", "body": writer.body, "more_body": False})


def _with(headers: Headers, *more: tuple[bytes, bytes]) -> list[Any]:
    return [*((name, value) for name, value in headers if name not in _OF_BODY), *more]
