"""Selects the API format of a path, whether the path exists or not."""

from __future__ import annotations

from app.api.formats.anthropic import AnthropicFormat
from app.api.formats.ollama import OllamaFormat
from app.api.formats.openai import OpenAIFormat, ResponsesFormat
from app.relay.headers import Headers


class ApiFormats:
    """One instance per format. An API format holds no state of a request."""

    def __init__(self) -> None:
        self._openai = OpenAIFormat()
        self._ollama = OllamaFormat()
        self._anthropic = AnthropicFormat()
        self._others = {"/messages": self._anthropic, "/responses": ResponsesFormat()}

    def of(self, path: str, headers: Headers | None = None) -> OpenAIFormat:
        """Returns the format of a requested path, with or without `/v1`.

        Two APIs list models at one path: `headers` tell them apart.
        """
        if path.startswith("/api/"):
            return self._ollama
        while path.startswith("/v1/"):  # twice where a client joins base URLs by hand
            path = path.removeprefix("/v1")
        head = path[: path.find("/", 1)] if "/" in path[1:] else path
        if head == "/models" and headers is not None and any(name == b"anthropic-version" for name, _ in headers):
            return self._anthropic
        return self._others.get(head, self._openai)
