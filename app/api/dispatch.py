"""The outermost ASGI callable: sets a request id, calls the relay or FastAPI, writes the access log.

It is pure ASGI, since `@app.middleware("http")` would turn an aborted stream into a clean end.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from random import getrandbits
from typing import Any, Protocol

from app import logs
from app.api.cors import Application
from app.api.formats.openai import OpenAIFormat, no_such_route
from app.api.formats.select import ApiFormats
from app.api.formats.status_codes import HttpError
from app.api.model_list import POLLS, ModelList
from app.api.ollama.relay import OllamaRelay
from app.api.page import page_file, send_page
from app.api.paths import tidied
from app.api.routes import HEALTHS, OLLAMA, RESPONSES, allowed, relayed, upstream_path
from app.auth.guard import Guard
from app.errors import TandemError
from app.records.metrics import Finished, Metrics
from app.relay.headers import of_request_id
from app.relay.record import Report, RequestRecord
from app.relay.relay import Relay
from app.relay.request.body import Message, Receive
from app.relay.request.content_encoding import decoded
from app.relay.request.json_text import without_bom
from app.relay.request.scope import Scope, header
from app.relay.response.writer import Send
from app.relay.traffic import Traffic

log = logs.get_logger("access")

_GIVEN_ID = re.compile(rb"[\w.:+/=-]{1,128}\Z")
# Polled by programs every few seconds, so they are not logged.
_QUIET = frozenset(("/health", "/metrics"))
_HEALTHY = b'{"status":"ok"}'


class ApiTranslation(Protocol):
    """An API around the relay, which translates requests and answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        """Answers one request. Its body has not been read."""


class Dispatcher:
    """The callable for uvicorn. `translations` are by path.

    `models` answers the list of models. `build_api` makes the FastAPI part. That takes a quarter of a second of imports
    and 13 MB, and neither completions nor health checks need it. So the first request for it builds it, in a thread,
    while streams continue.
    """

    def __init__(
        self,
        build_api: Callable[[], Application],
        relay: Relay,
        life: Callable[[], AbstractAsyncContextManager[None]],
        guard: Guard | None = None,
        translations: Mapping[str, ApiTranslation] | None = None,
        models: ModelList | None = None,
    ) -> None:
        self._build_api = build_api
        self._api: Application | None = None
        self._building = asyncio.Lock()
        self._relay = relay
        self._life = life
        self._guard = guard
        self._api_formats = ApiFormats()
        self._ollama = OllamaRelay(relay)
        self._translations = translations or {}
        self._models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        request_id = _request_id(scope["headers"])
        scope = tidied(scope)
        method, path = scope["method"], scope["path"]
        try:
            if self._guard is not None:
                self._guard.check(scope)
            scope, receive = decoded(scope, receive)
        except TandemError as error:
            await self._refuse(scope, send, error, request_id)
            return
        if (file := page_file(scope)) is not None:
            status = await send_page(scope, send, file)
            log.debug(f"{method} {path}", status=status, request_id=request_id)
            return
        if method == "HEAD" and path not in HEALTHS:
            # Every GET endpoint answers HEAD. uvicorn drops the body.
            method, scope, send = "GET", scope | {"method": "GET"}, _head_of(send)
        if method == "POST" and (translation := self._translations.get(path)) is not None:
            await translation(scope, receive, send, request_id=request_id)
        elif relayed(method, path):
            api_format = self._api_formats.of(path)
            if (target := upstream_path(path)) is not None:
                scope = scope | {"raw_path": target}
            await self._relay(scope, receive, send, api_format=api_format, request_id=request_id)
        elif path in OLLAMA and method == "POST":
            await self._ollama(scope, receive, send, request_id=request_id)
        elif path in HEALTHS and method in ("GET", "HEAD"):
            await _answer(send, 200, _HEALTHY, request_id, bodiless=method == "HEAD")
        elif method == "GET" and self._models is not None and self._models.answers(scope):
            api_format = self._api_formats.of(path, scope["headers"])
            await self._models(scope, send, api_format=api_format, request_id=request_id)
        elif path in RESPONSES and method == "GET" and header(scope["headers"], b"sec-websocket-key"):
            await _no_websocket(scope, send, self._api_formats.of(path), request_id)
        elif takes := allowed(path):
            await _not_allowed(scope, send, self._api_formats.of(path), takes, request_id)
        else:
            await self._served(scope, receive, send, request_id)

    async def _refuse(self, scope: Scope, send: Send, error: TandemError, request_id: str) -> None:
        """Refuses a request in its API format, before reading its body."""
        api_format = self._api_formats.of(scope["path"], scope["headers"])
        writer = api_format.error(error, request_id=request_id)
        await send({"type": "http.response.start", "status": writer.status, "headers": writer.headers})
        body = b"" if scope["method"] == "HEAD" else writer.body
        await send({"type": "http.response.body", "body": body, "more_body": False})
        log.info(f"{scope['method']} {scope['path']}", status=writer.status, error=str(error), request_id=request_id)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """ASGI's lifespan protocol: one start-up, one shutdown."""
        await receive()
        async with self._life():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _application(self) -> Application:
        async with self._building:
            if self._api is None:
                self._api = await asyncio.to_thread(self._build_api)
            return self._api

    async def _served(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began, status = time.perf_counter(), 500
        api_format = self._api_formats.of(scope["path"], scope["headers"])
        ids = of_request_id(api_format.id_names, request_id)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *ids]
            await send(message)

        try:
            application = await self._application()
            await application(scope, without_bom(receive), send_with_id)
        finally:
            quiet = scope["path"] in _QUIET or POLLS in scope["headers"]
            write = log.debug if quiet and status < 400 else log.info
            ms = round((time.perf_counter() - began) * 1000, 1)
            write(f"{scope['method']} {scope['path']}", status=status, ms=ms, request_id=request_id)


def _head_of(send: Send) -> Send:
    """Ends the response after its head, since some responses never end (a followed log)."""
    ended = False

    async def send_head(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            ended = True
        elif not ended:
            await send(message)

    return send_head


async def _not_allowed(scope: Scope, send: Send, api_format: OpenAIFormat, takes: str, request_id: str) -> None:
    error, message = no_such_route(scope["method"], scope["path"], 405, {"Allow": takes})
    allow = (b"allow", takes.encode())
    more = of_request_id((name for name in api_format.id_names if name != b"x-request-id"), request_id)
    body = api_format.body(message, error)
    await _answer(send, 405, body, request_id, allow, *more, bodiless=scope["method"] == "HEAD")
    log.info(f"{scope['method']} {scope['path']}", status=405, request_id=request_id)


async def _no_websocket(scope: Scope, send: Send, api_format: OpenAIFormat, request_id: str) -> None:
    """Codex tries a websocket first, and uses POST once it gets this response."""
    message = f"{scope['path']} does not support WebSocket. Send a POST, with 'stream': true for events."
    body = api_format.body(message, HttpError(426, "invalid_request_error", "websocket_not_supported"))
    await _answer(send, 426, body, request_id, (b"upgrade", b"HTTP/1.1"), bodiless=False)
    log.info(f"{scope['method']} {scope['path']}", status=426, request_id=request_id)


async def _answer(
    send: Send, status: int, body: bytes, request_id: str, *more: tuple[bytes, bytes], bodiless: bool
) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode("latin-1")),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else body, "more_body": False})


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _GIVEN_ID.match(value):
            return value.decode("latin-1")
    return f"{getrandbits(128):032x}"  # The id is no secret; uuid4 would ask the kernel every time


def reporter(metrics: Metrics, keep: Callable[[Finished], None], traffic: Traffic | None = None) -> Report:
    """Returns the relay's callback for finished requests: it writes one log line, one count in the metrics,
    one record."""

    def report(record: RequestRecord) -> None:
        finished = record.finished
        metrics.finished(finished)
        keep(finished)
        if traffic is not None:
            traffic.finished(record)
        fields: dict[str, Any] = {"status": finished.status, "alias": finished.alias, "request_id": record.request_id}
        fields["ms"] = round(finished.duration * 1000, 1)
        if finished.ttft is not None:
            fields["ttft_ms"] = round(finished.ttft * 1000, 1)
        for name in ("prompt_tokens", "completion_tokens", "drafted", "accepted"):
            if (value := getattr(finished, name)) is not None:
                fields[name] = value
        if finished.decode and finished.completion_tokens and finished.completion_tokens > 1:
            fields["tok_s"] = round((finished.completion_tokens - 1) / finished.decode, 1)
        if record.failure is not None:
            fields["error"] = str(record.failure)
        write = log.warning if finished.status >= 500 else log.info
        write(record.line, **fields)

    return report
