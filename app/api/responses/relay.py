"""Relays `/v1/responses`, OpenAI's Responses API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from app.api.formats.openai import ResponsesFormat
from app.api.responses.keeper import ResponseKeeper
from app.api.responses.request import input_items, translate
from app.api.responses.response import ResponsesWriter
from app.api.translated.answer import AnswerWriter
from app.api.translated.count import TokenCounter, paths_of
from app.api.translated.fields import Fields
from app.api.translated.relay import RequestedModel, TranslatedRelay
from app.relay.relay import Relay
from app.relay.request.parse import CallReader
from app.relay.request.scope import Scope


class ResponsesRelay(TranslatedRelay):
    """An ASGI callable."""

    api = "responses"
    api_format = ResponsesFormat()
    own_names: Mapping[str, str] = {
        "max_tokens": "max_output_tokens",
        "messages": "input",
        "logprobs": "include",
    }

    def __init__(self, relay: Relay, calls: CallReader, keeper: ResponseKeeper) -> None:
        super().__init__(relay, calls)
        self._keeper = keeper

    async def translate(
        self, fields: Fields, model: RequestedModel, scope: Scope
    ) -> tuple[dict[str, Any], AnswerWriter]:
        earlier = await self._keeper.earlier(fields, scope)
        kept = await self._keeper.referred(input_items(fields), scope)
        request = translate(fields, ours=model.ours, earlier=earlier, kept=kept)
        if not self._keeper.keeps:
            request.echoed["store"] = False
        # 192 random bits, so that ids cannot be guessed
        return request.body, ResponsesWriter(request, model.name, f"resp_{secrets.token_hex(24)}")

    def answered(self, writer: AnswerWriter, scope: Scope) -> None:
        """Stores the response if the client wants it."""
        assert isinstance(writer, ResponsesWriter)
        self._keeper.keep(writer, scope)


def response_paths(responses: ResponsesRelay, relay: Relay) -> dict[str, TranslatedRelay | TokenCounter]:
    """Returns the ASGI app of each path, with `/v1` and without."""
    counter = TokenCounter(relay, responses, {"object": "response.input_tokens"})
    return paths_of(responses, "/responses", counter, "/responses/input_tokens")
