"""Formats errors for Ollama's clients: `{"error": "text"}`, in a stream the same on its own line."""

from __future__ import annotations

from typing import Any

import msgspec

from app.api.formats.openai import OpenAIFormat
from app.api.formats.status_codes import HttpError
from app.api.formats.upstream_errors import Refusal


class OllamaFormat(OpenAIFormat):
    """Its events are server-sent events; `Pieces` converts them to lines, as it does with the engine's."""

    def body(self, message: str, error: HttpError, **more: Any) -> bytes:
        return msgspec.json.encode({"error": message} | more)

    def refused(self, refusal: Refusal, body: bytes) -> bytes:
        return msgspec.json.encode({"error": refusal.message} | refusal.more)
