"""Paths as clients write them that join a base URL by hand. Pure."""

from __future__ import annotations

import re

from app.api.routes import GETS, HEALTH, OLLAMA, POSTS
from app.relay.request.scope import Scope

_SLASHES = re.compile(r"/{2,}")
_RAW_SLASHES = re.compile(rb"/{2,}")
_ELSEWHERE = ("/v1/models", "/api/tags", "/api/show", "/api/ps", "/api/version", "/metrics", HEALTH)
# The longest first: `/v1/completions` ends in `/completions`, too.
_KNOWN = sorted({*POSTS, *GETS, *OLLAMA, *_ELSEWHERE}, key=len, reverse=True)


def tidied(scope: Scope) -> Scope:
    """The scope without doubled slashes and without one at the end; the same object where there were none."""
    path: str = scope["path"]
    if "//" not in path and (not path.endswith("/") or path == "/"):
        return scope
    tidy = _SLASHES.sub("/", path)
    raw = _RAW_SLASHES.sub(b"/", scope.get("raw_path") or path.encode())
    return scope | {"path": tidy.rstrip("/") or "/", "raw_path": raw.rstrip(b"/") or b"/"}


def hint(path: str) -> str:
    """Words for a path that ends in one that there is, empty for any other."""
    known = next((known for known in _KNOWN if path.endswith(known)), None)
    if known is None or known == path:
        return ""
    before = path.removesuffix(known)
    if before.endswith("/v1"):
        return f" The base URL has /v1 twice: use {known}."
    return f" Remove {before} from the base URL: use {known}."
