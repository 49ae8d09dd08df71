"""Which dialect a path's clients speak, whether there is anything at that path or not."""

from __future__ import annotations

from app.api.formats.anthropic import AnthropicFormat
from app.api.formats.ollama import OllamaFormat
from app.api.formats.openai import OpenAIFormat, ResponsesFormat
from app.relay.headers import Headers


class ApiFormats:
    """One of each; an API format knows nothing of a request."""

    def __init__(self) -> None:
        self._openai = OpenAIFormat()
        self._ollama = OllamaFormat()
        self._anthropic = AnthropicFormat()
        self._others = {"/messages": self._anthropic, "/responses": ResponsesFormat()}

    def of(self, path: str, headers: Headers | None = None) -> OpenAIFormat:
        """By the path as the client asks for it, with `/v1` or without.

        Models are listed for two APIs: `headers` tell which one's client asks.
        """
        if path.startswith("/api/"):
            return self._ollama
        path = path.removeprefix("/v1")
        head = path[: path.find("/", 1)] if "/" in path[1:] else path
        if head == "/models" and headers is not None and any(name == b"anthropic-version" for name, _ in headers):
            return self._anthropic
        return self._others.get(head, self._openai)
