"""Which dialect a path's clients speak, whether there is anything at that path or not."""

from __future__ import annotations

from app.api.formats.anthropic import AnthropicSurface
from app.api.formats.ollama import OllamaSurface
from app.api.formats.openai import OpenAISurface, ResponsesSurface


class Surfaces:
    """One of each; a surface knows nothing of a request."""

    def __init__(self) -> None:
        self._openai = OpenAISurface()
        self._ollama = OllamaSurface()
        self._others = {"/messages": AnthropicSurface(), "/responses": ResponsesSurface()}

    def of(self, path: str) -> OpenAISurface:
        """By the path as the client asks for it, with `/v1` or without."""
        if path.startswith("/api/"):
            return self._ollama
        path = path.removeprefix("/v1")
        head = path[: path.find("/", 1)] if "/" in path[1:] else path
        return self._others.get(head, self._openai)
