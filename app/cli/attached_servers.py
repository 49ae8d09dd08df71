"""Checks whether attached servers answer, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

from app.config.model_entry import AttachedEntry
from app.errors import reason_of

PATIENCE_S = 2.0
_AT_ONCE = 32


@contextmanager
def answers(entries: Mapping[str, AttachedEntry]) -> Iterator[dict[str, Future[str]]]:
    """Yields the problem of each server by name, empty if it answers. The futures finish within seconds."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {name: pool.submit(problem, entry) for name, entry in entries.items()}


def problem(entry: AttachedEntry) -> str:
    """Returns a sentence if the server does not answer or refuses the key, else an empty text. Blocks for seconds."""
    import httpx2  # late: it takes 80 ms

    headers = {"Authorization": f"Bearer {entry.api_key.get_secret_value()}"} if entry.api_key else {}
    try:
        answer = httpx2.get(f"{entry.url}/v1/models", headers=headers, timeout=PATIENCE_S, trust_env=False)
    except httpx2.TimeoutException:
        return f"no answer within {PATIENCE_S:g} s."
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return f"{reason_of(error)}."
    if answer.status_code == 401:
        return "it requires a key. Set or correct api_key."
    return ""


def port_hint(url: str) -> str:
    """Returns a hint for an address without a port, since few model servers use the default."""
    parts = urlsplit(url)
    if parts.port is not None:
        return ""
    usual = 443 if parts.scheme == "https" else 80
    return f" The address has no port, so port {usual} is used. To name one, write {url}:8080."
