"""The relay in every API before an engine whose answer is written down: no socket, no process but the body worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from app.api.formats.openai import OpenAIFormat
from app.api.messages.relay import MessagesRelay
from app.api.ollama.relay import OllamaRelay
from app.api.responses.keeper import ResponseKeeper
from app.api.responses.relay import ResponsesRelay
from app.config.model_entry import Files, LocalEntry
from app.config.settings import Settings
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.records.metrics import Metrics
from app.relay.buffered.eligibility import as_stream
from app.relay.relay import Relay
from app.relay.request.parse import Call, CallReader
from app.relay.response.usage import UsageTap
from app.relay.response.writer import StreamAbortedError
from app.relay.upstream.destination import Destination
from app.scheduler.queue import Ticket

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat")


class ScriptedEngine(Destination):
    """The router, the client and the answer of one request: its chunks come at once."""

    streams_well = True

    def __init__(self, chunks: list[bytes]) -> None:
        super().__init__("m", "http://other:1", None)
        self._chunks = chunks
        self.status = 200
        self.content_type = b"text/event-stream"
        self.raw_headers = ((b"content-type", self.content_type),)

    def waiting_for(self, ref: ModelRef, ticket: Ticket) -> str:
        return ""

    async def destination(self, call: Call, ticket: Ticket) -> Destination:
        return self

    async def ask(self, destination: Destination, call: Call, listen: Callable[..., UsageTap]) -> Any:
        if not call.streaming and call.as_stream is None:
            as_stream(call.target, call.body, call.fields, drafts=False)
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await asyncio.sleep(0)
            yield chunk

    async def hand_over(self, take: Callable[[bytes], bool]) -> None:
        """As on a connection whose bytes have come already."""

    def close(self) -> None:
        pass


def asked(path: str, body: bytes, *chunks: bytes, sent: list[Any] | None = None) -> Callable[[], Any]:
    """One request in the API of a path. `sent` gets the messages to the client."""

    async def main() -> None:
        engine: Any = ScriptedEngine(list(chunks))
        entry = LocalEntry(target=Files.model_validate({"path": "/m.gguf"}))
        calls = CallReader(Catalog(Settings(models={"m": entry})), max_body=64 << 20)
        relay = Relay(calls, engine, engine, Metrics(), report=lambda _: None)
        coming = iter(range(0, len(body), 65536))

        async def receive() -> Any:
            if (at := next(coming, -1)) < 0:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            return {"type": "http.request", "body": body[at : at + 65536], "more_body": at + 65536 < len(body)}

        async def send(message: Any) -> None:
            if sent is not None:
                sent.append(message)

        scope = {"method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
        keeper: Any = ResponseKeeper(None, None, seconds=0)  # type: ignore[arg-type]
        try:
            if path == "/v1/responses":
                await ResponsesRelay(relay, calls, keeper)(scope, receive, send, request_id="r")
            elif path == "/v1/messages":
                await MessagesRelay(relay, calls)(scope, receive, send, request_id="r")
            elif path.startswith("/api/"):
                await OllamaRelay(relay)(scope, receive, send, request_id="r")
            else:
                await relay(scope, receive, send, api_format=OpenAIFormat(), request_id="r")
        except StreamAbortedError:
            pass  # Some of the streams have no end
        calls.close()

    return main
