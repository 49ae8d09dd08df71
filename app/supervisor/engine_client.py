"""The HTTP client for the gateway's own requests to its engines."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import cache

import httpx2

from app.supervisor.http_transport import GatewayTransport


def engine_client(
    base_url: str, key: str | None, timeout: float | httpx2.Timeout | None, *, keeps_connections: bool = True
) -> httpx2.AsyncClient:
    """A client for plain HTTP on loopback; `timeout` is in seconds.

    It shares one TLS context, which plain HTTP does not use: making one blocks the event loop for 7 ms, and reading
    certificates for 30 ms.
    """
    headers: Mapping[str, str] = {} if key is None else {"Authorization": f"Bearer {key}"}
    limits = httpx2.Limits() if keeps_connections else httpx2.Limits(max_keepalive_connections=0)
    transport = GatewayTransport(verify=_unused_tls(), trust_env=False, limits=limits)
    return httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=timeout, trust_env=False, transport=transport)


@cache
def _unused_tls() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
