"""Relays a translated request and translates its answer.

The relay works as always (lease, disconnects, limits, metrics, broken streams). It sees a chat completion, and its own
messages get the client's API format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.api.formats.openai import OpenAIFormat
from app.api.translated.answer import AnswerWriter
from app.api.translated.chat_events import COMMENT, DONE, ChatEvent, ChatReader, StreamFailure, read_whole
from app.api.translated.fields import Fields
from app.api.translated.places import in_own_places, refusal_in_own_places
from app.auth.guard import may_use
from app.config.model_entry import AttachedEntry, LocalEntry
from app.errors import UpstreamDiedError, UpstreamError
from app.models.ref import ModelRef
from app.relay.headers import Headers
from app.relay.relay import Relay
from app.relay.request.body import Message, Receive, read_body
from app.relay.request.json_decode import decoded
from app.relay.request.json_text import readable_in_steps
from app.relay.request.parse import CallReader
from app.relay.request.scan import refuse_deep_nesting
from app.relay.request.scope import Scope, declared_length
from app.relay.response.writer import Send, StreamAbortedError
from app.relay.turns import a_turn_for, in_turns, parts_in_turns

_BROKEN = "The engine's answer ended before its end."
_CHAT = "/v1/chat/completions"
_OF_BODY = frozenset((b"content-encoding", b"content-length", b"content-type", b"etag"))


@dataclass(frozen=True, slots=True)
class RequestedModel:
    """The requested model, and its name in the client's request."""

    name: str
    ref: ModelRef

    @property
    def entry(self) -> LocalEntry | AttachedEntry:
        return self.ref.entry

    @property
    def ours(self) -> bool:
        return isinstance(self.entry, LocalEntry)


class TranslatedRelay(ABC):
    """An ASGI callable for the completions of one API. `api` is its name in an entry's `apis`."""

    api: str
    api_format: OpenAIFormat
    # Fields of chat completions -> the client's, if the names differ
    own_names: Mapping[str, str] = {}

    def __init__(self, relay: Relay, calls: CallReader) -> None:
        self._relay = relay
        self._calls = calls

    @abstractmethod
    async def translate(
        self, fields: Fields, model: RequestedModel, scope: Scope
    ) -> tuple[dict[str, Any], AnswerWriter]:
        """Returns the chat completion to request, and the writer of its answer. Raises a RequestError."""

    def answered(self, writer: AnswerWriter, scope: Scope) -> None:  # noqa: B027 - not every API keeps answers
        """Receives the writer of a successful answer before its last bytes are sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        exchange = _Exchange(self, scope, receive, send, request_id)
        relay = self._relay
        try:
            await relay(
                exchange.scope, exchange.receive, exchange.send, api_format=self.api_format, request_id=request_id
            )
        except StreamAbortedError as error:
            if not exchange.holds_back:
                raise
            await exchange.refuse(UpstreamDiedError(str(error)))

    async def read(self, scope: Scope, receive: Receive) -> tuple[bytes, RequestedModel]:
        """Reads the body and its model. Raises a RequestError or ClientDisconnectedError."""
        body = await read_body(receive, declared_length(scope["headers"]), self._relay.max_body)
        body = await in_turns(readable_in_steps(body))
        fields, _ = await self._calls.routing(body)
        await a_turn_for(body)
        ref = self._calls.named(fields.model, may_use(scope))
        model = RequestedModel(fields.model or ref.name, ref)
        if not self.passes(model):
            self._calls.refuse_edit(body)
            await in_turns(refuse_deep_nesting(body))
            self._calls.remote(fields)  # refused in the client's own terms, before any translation
            await a_turn_for(body)
        return body, model

    def passes(self, model: RequestedModel) -> bool:
        """Tells whether the attached server speaks this API itself."""
        return isinstance(model.entry, AttachedEntry) and self.api in model.entry.apis


class _Exchange:
    """One request: the relay's side (receive, send) and the client's."""

    def __init__(
        self, translator: TranslatedRelay, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> None:
        headers = [(n, v) for n, v in scope["headers"] if n != b"content-type"]
        self.scope = scope | {"headers": [*headers, (b"content-type", b"application/json")]}
        self._translator = translator
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._read = False
        # None if the answer is the server's own, or a refusal
        self._writer: AnswerWriter | None = None
        # The translated request, if there is one
        self._chat: dict[str, Any] | None = None
        # A refusal, sent as it arrives
        self._refusal: Message | None = None
        # A stream, sent as it arrives
        self._streams = False
        self._reader = ChatReader()
        self._ended = False
        # A complete answer, held until its end
        self._start: Message | None = None
        self._held_back: list[bytes] = []

    @property
    def holds_back(self) -> bool:
        """Tells whether an answer has begun of which the client has received nothing."""
        return self._start is not None

    async def receive(self) -> Message:
        """Returns the translated body first, then the client's messages."""
        if self._read:
            return await self._receive()
        body, model = await self._translator.read(self.scope, self._receive)
        self._read = True
        if not self._translator.passes(model):
            fields = Fields(decoded(body))
            await a_turn_for(body)
            chat, self._writer = await self._translator.translate(fields, model, self.scope)
            await a_turn_for(body)
            self._chat = chat
            self._streams = bool(chat.get("stream"))
            # The relay reads path and query after the body.
            self.scope.update(path=_CHAT, raw_path=_CHAT.encode(), query_string=b"")
            body = msgspec.json.encode(chat | {"model": model.name})
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if self._refusal is not None:
            self._held_back.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._refused(self._refusal)
        elif self._writer is None:
            await self._send(message)
        elif message["type"] == "http.response.start":
            await self._begin(self._writer, message)
        elif self._start is not None:
            self._held_back.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._whole(self._writer, self._start)
        else:
            await self._stream(self._writer, message.get("body", b""), more=message.get("more_body", False))

    async def _begin(self, writer: AnswerWriter, message: Message) -> None:
        if message["status"] >= 400:
            self._writer, self._refusal = None, message
        elif self._streams:
            await self._send(message)
            if first := writer.begin():
                await self._send({"type": "http.response.body", "body": first, "more_body": True})
        else:
            self._start = message

    async def _stream(self, writer: AnswerWriter, chunk: bytes, *, more: bool) -> None:
        read = 0
        async for part in parts_in_turns(chunk):
            read += len(part)
            await self._part(writer, part, more=more or read < len(chunk))

    async def _part(self, writer: AnswerWriter, chunk: bytes, *, more: bool) -> None:
        out = []
        for part in self._reader.feed(chunk):
            if self._ended:
                break
            if isinstance(part, ChatEvent):
                out.append(writer.event(part))
            elif part is COMMENT:
                out.append(writer.comment())
            elif isinstance(part, StreamFailure):
                self._ended = True  # the relay aborts the connection after it
                out.append(writer.fail(self._placed(part.fields)))
            elif part is DONE:
                out.append(await self._last(writer, out))
        if not more and not self._ended:
            out.append(await self._last(writer, out))
        if not more or any(out):
            await self._send({"type": "http.response.body", "body": b"".join(out), "more_body": more})

    def _placed(self, error: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = in_own_places(error, self._chat or {}, self._translator.own_names)
        return fields

    async def _refused(self, start: Message) -> None:
        body = refusal_in_own_places(b"".join(self._held_back), self._chat or {}, self._translator.own_names)
        self._refusal = None
        await self._send({**start, "headers": _with_length(start["headers"], len(body))})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _last(self, writer: AnswerWriter, before: list[bytes]) -> bytes:
        """Returns the end of a stream. Without a finish reason it is interrupted, and the connection is aborted."""
        self._ended = True
        try:
            if not writer.ended:
                raise UpstreamDiedError(_BROKEN)
            last = writer.finish()
        except UpstreamError as error:
            event = self._translator.api_format.error_event(error)
            [failure] = [part for part in ChatReader().feed(event) if isinstance(part, StreamFailure)]
            body = b"".join([*before, writer.fail(failure.fields)])
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            raise StreamAbortedError(str(error)) from None
        self._translator.answered(writer, self.scope)
        return last

    async def _whole(self, writer: AnswerWriter, start: Message) -> None:
        try:
            answer = writer.whole(read_whole(b"".join(self._held_back)))
        except UpstreamError as error:
            await self.refuse(error)
            return
        except ValueError:
            await self.refuse(UpstreamDiedError("The engine's answer cannot be read."))
            return
        body = msgspec.json.encode(answer)
        self._start = None
        self._translator.answered(writer, self.scope)
        await self._send({**start, "headers": _with_length(start["headers"], len(body))})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def refuse(self, error: Exception) -> None:
        """Replaces the complete answer by an error."""
        self._start, self._writer = None, None
        response = self._translator.api_format.error(error, request_id=self._request_id)
        await self._send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await self._send({"type": "http.response.body", "body": response.body, "more_body": False})


def _with_length(headers: Headers, length: int) -> list[Any]:
    more = ((b"content-type", b"application/json"), (b"content-length", str(length).encode()))
    return [*((name, value) for name, value in headers if name not in _OF_BODY), *more]
