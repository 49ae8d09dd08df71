"""Counts the tokens of a request's prompt: the engine renders its template and generates nothing.

It tries three ways in order: llama-server's `input_tokens` for chat completions; `/apply-template` and `/tokenize` for
builds without it; vLLM's `/tokenize`, which takes messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from app.api.translated.fields import Fields
from app.api.translated.places import refusal_in_own_places
from app.api.translated.relay import TranslatedRelay
from app.auth.guard import KEY
from app.errors import TokensUncountableError
from app.relay.headers import of_request_id
from app.relay.relay import Relay
from app.relay.request.body import ClientDisconnectedError, Message, Receive
from app.relay.request.json_decode import decoded
from app.relay.request.scope import Scope
from app.relay.response.writer import Send

_COUNTED = "/v1/chat/completions/input_tokens"
_NOT_THERE = frozenset((404, 405, 501))
# Fields about the answer do not affect the prompt.
_OF_ANSWERS = ("stream", "stream_options", "max_tokens", "return_progress", "verbose", "echo")


class TokenCounter:
    """An ASGI callable for an API's counting endpoint. `answer` holds more fields of its answers."""

    def __init__(self, relay: Relay, translator: TranslatedRelay, answer: dict[str, Any]) -> None:
        self._relay = relay
        self._translator = translator
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        counting = _Counting(self._relay, self._translator, scope, receive, send, request_id)
        count = await counting.run()
        if count is not None:
            body = msgspec.json.encode({"input_tokens": count} | self._answer)
            await send({"type": "http.response.start", "status": 200, "headers": counting.headers(len(body))})
            await send({"type": "http.response.body", "body": body, "more_body": False})


def paths_of(
    translator: TranslatedRelay, path: str, counter: TokenCounter, counted: str
) -> dict[str, TranslatedRelay | TokenCounter]:
    """Returns the endpoint of each path, with `/v1` and without."""
    return {f"{v1}{at}": endpoint for at, endpoint in ((path, translator), (counted, counter)) for v1 in ("", "/v1")}


class _Counting:
    """One request for a count."""

    def __init__(
        self,
        relay: Relay,
        translator: TranslatedRelay,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_id: str,
    ) -> None:
        self._relay = relay
        self._translator = translator
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._chat: dict[str, Any] = {}
        self._passed = False
        self._gone = False

    def headers(self, length: int) -> list[tuple[bytes, bytes]]:
        ids = of_request_id(self._translator.api_format.id_names, self._request_id)
        return [(b"content-type", b"application/json"), (b"content-length", b"%d" % length), *ids]

    async def run(self) -> int | None:
        """Returns the count, or None if the client has its answer already or has left."""
        answer = _Answer()
        scope = dict(self._scope)
        headers = [(n, v) for n, v in scope["headers"] if n not in (b"content-type", b"content-length")]
        scope["headers"] = [*headers, (b"content-type", b"application/json")]

        async def first() -> Message:
            if self._chat or self._passed:
                return await self._receive()
            return await self._first_body(scope, answer)

        await self._ask(scope, first, answer)
        if self._passed or self._gone or answer.status not in (200, *_NOT_THERE):
            await answer.pass_on(self._send, self._in_own_places)
            return None
        count = answer.number("input_tokens")
        if count is None:
            count = await self._by_template()
        if count is None:
            count = await self._by_messages()
        if count is None:
            error = TokensUncountableError(
                "The server of this model cannot count tokens: it has neither llama-server's /apply-template nor "
                "vLLM's /tokenize."
            )
            refusal = self._translator.api_format.error(error, request_id=self._request_id)
            await self._send({"type": "http.response.start", "status": refusal.status, "headers": refusal.headers})
            await self._send({"type": "http.response.body", "body": refusal.body, "more_body": False})
        return count

    async def _first_body(self, scope: Scope, answer: _Answer) -> Message:
        try:
            body, model = await self._translator.read(self._scope, self._receive)
        except ClientDisconnectedError:
            self._gone = True
            raise
        if self._translator.passes(model):
            self._passed = True
            return {"type": "http.request", "body": body, "more_body": False}
        chat, _ = await self._translator.translate(Fields(decoded(body)), model, self._scope)
        self._chat = {name: value for name, value in chat.items() if name not in _OF_ANSWERS} | {"model": model.name}
        scope.update(path=_COUNTED, raw_path=_COUNTED.encode(), query_string=b"")
        return {"type": "http.request", "body": msgspec.json.encode(self._chat), "more_body": False}

    def _in_own_places(self, body: bytes) -> bytes:
        if self._passed:
            return body
        return refusal_in_own_places(body, self._chat, self._translator.own_names)

    async def _by_template(self) -> int | None:
        rendered = await self._again("/apply-template", self._chat)
        prompt = rendered.field("prompt")
        if not isinstance(prompt, str):
            return None
        content = {"model": self._chat["model"], "content": prompt, "add_special": True, "parse_special": True}
        tokens = (await self._again("/tokenize", content)).field("tokens")
        return len(tokens) if isinstance(tokens, list) else None

    async def _by_messages(self) -> int | None:
        kept = ("model", "messages", "tools", "chat_template_kwargs")
        answer = await self._again("/tokenize", {name: self._chat[name] for name in kept if name in self._chat})
        return answer.number("count")

    async def _again(self, path: str, body: dict[str, Any]) -> _Answer:
        """Sends another request for the same client, which does not count towards its limits."""
        scope = dict(self._scope) | {"path": path, "raw_path": path.encode(), "query_string": b""}
        if (key := scope.get(KEY)) is not None:
            scope[KEY] = replace(key, rpm=None, tpm=None, concurrency=None)
        waiting = [{"type": "http.request", "body": msgspec.json.encode(body), "more_body": False}]
        answer = _Answer()

        async def receive() -> Message:
            return waiting.pop() if waiting else await self._receive()

        await self._ask(scope, receive, answer)
        return answer

    async def _ask(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        api_format = self._translator.api_format
        await self._relay(scope, receive, answer.send, api_format=api_format, request_id=self._request_id)


class _Answer:
    """The relay's answer, captured."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return next((m["status"] for m in self.messages if m["type"] == "http.response.start"), 0)

    def field(self, name: str) -> Any:
        """Returns a field of a successful answer's body, or None."""
        if self.status != 200:
            return None
        body = b"".join(m.get("body", b"") for m in self.messages if m["type"] == "http.response.body")
        try:
            return msgspec.json.decode(body, type=dict[str, Any]).get(name)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def number(self, name: str) -> int | None:
        value = self.field(name)
        return value if isinstance(value, int) else None

    async def pass_on(self, send: Send, change: Callable[[bytes], bytes]) -> None:
        """Sends the answer with another body."""
        body = change(b"".join(m.get("body", b"") for m in self.messages if m["type"] == "http.response.body"))
        for message in self.messages:
            if message["type"] == "http.response.start":
                headers = [(n, v) for n, v in message["headers"] if n != b"content-length"]
                headers.append((b"content-length", b"%d" % len(body)))
                await send({**message, "headers": headers})
                await send({"type": "http.response.body", "body": body, "more_body": False})
