"""An HTTP client for what the gateway itself asks an engine of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2


def engine_client(
    base_url: str, key: str | None, timeout: float | httpx2.Timeout | None, **more: Any
) -> httpx2.AsyncClient:
    """For plain HTTP on a network that is ours; `timeout` is in seconds. Other options are httpx2's.

    Certificates are not read: to read them takes 30 ms of the event loop, in which no stream goes on.
    """
    headers: Mapping[str, str] = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx2.AsyncClient(
        base_url=base_url, headers=headers, timeout=timeout, trust_env=False, verify=False, **more
    )
