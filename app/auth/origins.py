"""Parses the origins of web pages (RFC 6454), as in the settings and as browsers send them. Pure."""

from __future__ import annotations

import re

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/:?#@\[\]*,]+)(?::(\d{1,5}))?\Z")
# Browsers omit the default port.
_PORTS = {"http": "80", "https": "443"}


def origins_of(text: str) -> frozenset[bytes]:
    """Returns the origins of `cors_origins` as browsers send them. Raises ValueError with a message."""
    return frozenset(_origin(part) for part in (part.strip() for part in text.split(",")) if part)


def _origin(written: str) -> bytes:
    if written == "*":
        raise ValueError("* would let any web page in; name each origin, such as https://app.example")
    match = _ORIGIN.match(written.lower().removesuffix("/"))
    if match is None:
        raise ValueError(f"{written!r} is not an origin; write scheme, host and port, such as http://localhost:3000")
    scheme, host, port = match.groups()
    return (f"{scheme}://{host}" if port in (None, _PORTS.get(scheme)) else f"{scheme}://{host}:{port}").encode()
