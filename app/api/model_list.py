"""Answers `GET /v1/models` before FastAPI, whose imports and checks take longer than the list itself."""

from __future__ import annotations

import time

import msgspec

from app import logs
from app.api.messages.models import asks_in_this_shape, page_of
from app.api.models import ModelRows
from app.auth.guard import may_use
from app.relay.api_format import ApiFormat
from app.relay.headers import Headers, of_request_id
from app.relay.request.scope import Scope
from app.relay.response.writer import Send

log = logs.get_logger("access")

PATHS = frozenset(("/models", "/v1/models"))
# Pollers, whose requests are of no interest in a log
POLLS = (b"x-tandem-poll", b"1")


class ModelList:
    """Writes the list of models."""

    def __init__(self, rows: ModelRows) -> None:
        self._rows = rows

    def answers(self, scope: Scope) -> bool:
        """Tells whether a GET is for the plain list. FastAPI checks the parameters of others."""
        return scope["path"] in PATHS and not scope["query_string"]

    async def __call__(self, scope: Scope, send: Send, *, api_format: ApiFormat, request_id: str) -> None:
        """Answers one request. A fault of ours is answered, and raised for the log."""
        began = time.perf_counter()
        try:
            body, headers = await self._answer(scope, api_format, request_id)
        except Exception as error:
            failure = api_format.error(error, request_id=request_id)
            await _send(send, failure.status, failure.body, failure.headers)
            raise
        await _send(send, 200, body, headers)
        write = log.debug if POLLS in scope["headers"] else log.info
        ms = round((time.perf_counter() - began) * 1000, 1)
        write(f"{scope['method']} {scope['path']}", status=200, ms=ms, request_id=request_id)

    async def _answer(self, scope: Scope, api_format: ApiFormat, request_id: str) -> tuple[bytes, Headers]:
        rows = await self._rows.listed(may=may_use(scope))
        anthropic = asks_in_this_shape(scope["headers"])
        body = msgspec.json.encode(page_of(rows, {}) if anthropic else {"object": "list", "data": rows})
        ids = of_request_id(api_format.id_names, request_id)
        return body, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *ids]


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
