"""The HTTP client for the gateway's own requests to its engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2


def engine_client(
    base_url: str, key: str | None, timeout: float | httpx2.Timeout | None, **more: Any
) -> httpx2.AsyncClient:
    """A client for plain HTTP on loopback; `timeout` is in seconds. Other options are httpx2's.

    It reads no certificates, since that blocks the event loop for 30 ms.
    """
    headers: Mapping[str, str] = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx2.AsyncClient(
        base_url=base_url, headers=headers, timeout=timeout, trust_env=False, verify=False, **more
    )
