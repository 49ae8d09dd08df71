"""Lists the relayed endpoints: llama-server's model endpoints, by path (b11434, `routes` in server.cpp)."""

from __future__ import annotations

from collections.abc import Iterable

from app.auth.guard import changes_engine

# OpenAI's. Without `/v1` llama-server answers two of them in its native form, which stays at `/completion` and
# `/embedding`; other servers do not know them without it. So they all go out with it.
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
# llama-server's own, which has no `/v1` before them.
_NATIVE = ("/completion", "/embedding", "/infill", "/tokenize", "/detokenize", "/apply-template")
_READ = ("/slots", "/props", "/lora-adapters")


def _both(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(path for bare in paths for path in (bare, f"/v1{bare}"))


# Bodies carry `model`.
POSTS = frozenset(_both((*_OPENAI, *_ANTHROPIC, *_NATIVE)))
# Chosen by `?model=`; read-only.
GETS = frozenset(_both(_READ))
# Posted to, the model in the query too: for admin keys, as is one slot (`/slots/0`).
CHANGES = frozenset(_both(("/lora-adapters",)))
# Where a path goes that the upstream knows by another name.
TARGETS = {path: f"/v1{path}".encode() for path in (*_OPENAI, *_ANTHROPIC)} | {
    f"/v1{path}": path.encode() for path in (*_NATIVE, *_READ)
}
# Ollama's, translated for the relay.
OLLAMA = ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings")
# Where Codex tries a WebSocket first.
RESPONSES = ("/responses", "/v1/responses")
# The gateway's own; here because it is answered before FastAPI, too. llama-server has it by both names.
HEALTH = "/health"
HEALTHS = (HEALTH, "/v1/health")


def relayed(method: str, path: str) -> bool:
    if method == "POST":
        return path in POSTS or changes_engine(path)
    return method == "GET" and path in GETS


def upstream_path(path: str) -> bytes | None:
    """The path upstream where it has another name there."""
    if path.startswith("/v1/") and changes_engine(path):
        return path.removeprefix("/v1").encode()
    return TARGETS.get(path)


def allowed(path: str) -> str | None:
    """The methods that a path dispatched before FastAPI takes; None for any other path."""
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
