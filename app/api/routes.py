"""Lists the relayed endpoints: llama-server's model endpoints, by path (b11434, `routes` in server.cpp)."""

from __future__ import annotations

from collections.abc import Iterable

from app.auth.guard import changes_engine

# OpenAI's paths. Without `/v1` llama-server answers two of them in its native form, which stays at `/completion` and
# `/embedding`. Other servers know them only with `/v1`. So all are sent with `/v1`.
_OPENAI = (
    "/chat/completions",
    "/chat/completions/input_tokens",
    "/completions",
    "/embeddings",
    "/responses",
    "/responses/input_tokens",
    "/rerank",
    "/reranking",
    "/audio/transcriptions",
)
_ANTHROPIC = ("/messages", "/messages/count_tokens")
# llama-server's own paths, without `/v1`.
_NATIVE = ("/completion", "/embedding", "/infill", "/tokenize", "/detokenize", "/apply-template")
_READ = ("/slots", "/props", "/lora-adapters")


def _both(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(path for bare in paths for path in (bare, f"/v1{bare}"))


# The body has `model`.
POSTS = frozenset(_both((*_OPENAI, *_ANTHROPIC, *_NATIVE)))
# The query has `model`. Read-only.
GETS = frozenset(_both(_READ))
# POSTs with `model` in the query. They need an admin key, as `/slots/0` does.
CHANGES = frozenset(_both(("/lora-adapters",)))
# Requested path -> the upstream's path, if it differs.
TARGETS = {path: f"/v1{path}".encode() for path in (*_OPENAI, *_ANTHROPIC)} | {
    f"/v1{path}": path.encode() for path in (*_NATIVE, *_READ)
}
# Ollama's paths, translated for the relay.
OLLAMA = ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings")
# Codex tries a WebSocket here first.
RESPONSES = ("/responses", "/v1/responses")
# Answered by the gateway, before FastAPI. llama-server has both paths.
HEALTH = "/health"
HEALTHS = (HEALTH, "/v1/health")


def relayed(method: str, path: str) -> bool:
    if method == "POST":
        return path in POSTS or changes_engine(path)
    return method == "GET" and path in GETS


def upstream_path(path: str) -> bytes | None:
    """Returns the upstream's path if it differs, else None."""
    if path.startswith("/v1/") and changes_engine(path):
        return path.removeprefix("/v1").encode()
    return TARGETS.get(path)


def allowed(path: str) -> str | None:
    """Returns the methods of a path that is dispatched before FastAPI, or None for any other path."""
    return (
        "GET, POST"
        if path in CHANGES
        else "POST"
        if path in POSTS or path in OLLAMA or changes_engine(path)
        else "GET"
        if path in GETS
        else "GET, HEAD"
        if path in HEALTHS
        else None
    )
