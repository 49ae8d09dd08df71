"""Answers `GET /v1/models` and `/v1/models/NAME` before FastAPI, whose imports and checks take longer than that."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from app import logs
from app.api.messages.models import asks_in_this_shape, page_of, shown_model
from app.api.models import ModelRows
from app.auth.guard import may_use
from app.errors import TandemError
from app.relay.api_format import ApiFormat
from app.relay.headers import Headers, of_request_id
from app.relay.request.scope import Scope
from app.relay.response.writer import Send

log = logs.get_logger("access")

PATHS = frozenset(("/models", "/v1/models"))
# Before the name of one model
_ONE = tuple(f"{path}/" for path in PATHS)
# Pollers, whose requests are of no interest in a log
POLLS = (b"x-tandem-poll", b"1")


class ModelList:
    """Writes the list of models, or one of them."""

    def __init__(self, rows: ModelRows) -> None:
        self._rows = rows

    def answers(self, scope: Scope) -> bool:
        """Tells whether a GET is for the plain list or for one model. FastAPI checks the parameters of others."""
        path: str = scope["path"]
        return not scope["query_string"] and (path in PATHS or path.startswith(_ONE))

    async def __call__(self, scope: Scope, send: Send, *, api_format: ApiFormat, request_id: str) -> None:
        """Answers one request. A fault of ours is answered, and raised for the log."""
        began, status, why = time.perf_counter(), 200, {}
        try:
            body, headers = await self._answer(scope, api_format, request_id)
        except Exception as error:
            failure = api_format.error(error, request_id=request_id)
            status, body, headers, why = failure.status, failure.body, failure.headers, {"error": str(error)}
            if not isinstance(error, TandemError):
                await _send(send, status, body, headers)
                raise
        await _send(send, status, body, headers)
        write = log.debug if POLLS in scope["headers"] and status < 400 else log.info
        ms = round((time.perf_counter() - began) * 1000, 1)
        write(f"{scope['method']} {scope['path']}", status=status, ms=ms, **why, request_id=request_id)

    async def _answer(self, scope: Scope, api_format: ApiFormat, request_id: str) -> tuple[bytes, Headers]:
        """Raises UnknownAliasError for the name of no model."""
        body = msgspec.json.encode(await self._content(scope))
        ids = of_request_id(api_format.id_names, request_id)
        return body, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *ids]

    async def _content(self, scope: Scope) -> dict[str, Any]:
        path, may, anthropic = scope["path"], may_use(scope), asks_in_this_shape(scope["headers"])
        if path in PATHS:
            rows = await self._rows.listed(may=may)
            return page_of(rows, {}) if anthropic else {"object": "list", "data": rows}
        name = path.partition("/models/")[2]
        row = self._rows.get(name, may)
        return shown_model(row, name) if anthropic else row


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
