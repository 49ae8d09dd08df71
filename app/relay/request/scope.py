"""Reads a request's target, headers and state from an ASGI scope."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from app.relay.headers import Headers

Scope = dict[str, Any]


def declared_length(headers: Headers) -> int | None:
    value = header(headers, b"content-length")
    return int(value) if value.isdigit() else None


def header(headers: Headers, name: bytes) -> bytes:
    return next((value for field, value in headers if field == name), b"")


def query_model(query: bytes) -> str | None:
    return parse_qs(query.decode("latin-1")).get("model", [None])[0]


def target(scope: Scope) -> str:
    """Returns path and query as the client wrote them."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")
