"""Corrects paths of clients that join a base URL and a path by hand. Pure."""

from __future__ import annotations

import re

from app.api.routes import GETS, HEALTH, OLLAMA, POSTS
from app.relay.request.scope import Scope

_SLASHES = re.compile(r"/{2,}")
_RAW_SLASHES = re.compile(rb"/{2,}")
_ELSEWHERE = ("/v1/models", "/api/tags", "/api/show", "/api/ps", "/api/version", "/metrics", HEALTH)
# Longest first, since `/v1/completions` also ends in `/completions`.
_KNOWN = sorted({*POSTS, *GETS, *OLLAMA, *_ELSEWHERE}, key=len, reverse=True)


def tidied(scope: Scope) -> Scope:
    """Returns the scope without doubled or final slashes. Returns the same object if there are none."""
    path: str = scope["path"]
    if "//" not in path and (not path.endswith("/") or path == "/"):
        return scope
    tidy = _SLASHES.sub("/", path)
    raw = _RAW_SLASHES.sub(b"/", scope.get("raw_path") or path.encode())
    return scope | {"path": tidy.rstrip("/") or "/", "raw_path": raw.rstrip(b"/") or b"/"}


def hint(path: str) -> str:
    """Returns a hint for a path that ends in a known one, or that is a base URL; empty for any other."""
    if path in ("/v1", "/v1/v1"):
        return " The base URL alone is no endpoint: use /v1/models, for example."
    known = next((known for known in _KNOWN if path.endswith(known)), None)
    if known is None or known == path:
        return ""
    before = path.removesuffix(known)
    if before.endswith("/v1") and known.startswith("/v1"):
        return f" The base URL has /v1 twice: use {known}."
    return f" Remove {before} from the base URL: use {known}."
