"""Relays `/v1/messages`, Anthropic's API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from app.api.formats.anthropic import AnthropicFormat
from app.api.messages.request import translate
from app.api.messages.response import MessageWriter
from app.api.translated.answer import AnswerWriter
from app.api.translated.count import TokenCounter, paths_of
from app.api.translated.fields import Fields
from app.api.translated.relay import RequestedModel, TranslatedRelay
from app.relay.relay import Relay
from app.relay.request.scope import Scope


class MessagesRelay(TranslatedRelay):
    """An ASGI callable."""

    api = "messages"
    api_format = AnthropicFormat()
    own_names: Mapping[str, str] = {"stop": "stop_sequences"}

    async def translate(
        self, fields: Fields, model: RequestedModel, scope: Scope
    ) -> tuple[dict[str, Any], AnswerWriter]:
        request = translate(fields, ours=model.ours)
        certain = model.ours and model.entry.request is None
        writer = MessageWriter(request, model.name, f"msg_{secrets.token_hex(12)}", limit_is_ours=certain)
        return request.body, writer


def message_paths(messages: MessagesRelay, relay: Relay) -> dict[str, TranslatedRelay | TokenCounter]:
    """Returns the ASGI app of each path, with `/v1` and without."""
    return paths_of(messages, "/messages", TokenCounter(relay, messages, {}), "/messages/count_tokens")
