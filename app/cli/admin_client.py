"""A client of a running gateway's admin API, with the address and key from `state_dir`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from app.auth.local_admin_key import FILE_NAME, local_secret
from app.cli.options import reason_of
from app.config.settings import Settings
from app.errors import UpstreamError, UpstreamUnreachableError
from app.server.address_file import admin_url

_CONNECT_S = 5.0


class AdminClient:
    """A client for the gateway of these settings. Raises ConfigError if its address is unknown.

    A context manager.
    """

    def __init__(self, settings: Settings, config: Path) -> None:
        self._root = admin_url(settings, config)
        self._settings = settings
        secret = local_secret(settings.state_dir)
        # Repeated requests stay out of the gateway's log
        headers = {"x-tandem-poll": "1"} | ({"authorization": f"Bearer {secret}"} if secret else {})
        timeout = httpx2.Timeout(None, connect=_CONNECT_S)
        self._client = httpx2.Client(  # no TLS, so no certificates: they take 30 ms to read
            base_url=self._root, headers=headers, timeout=timeout, trust_env=False, verify=False
        )

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def engines(self) -> list[dict[str, Any]]:
        """Returns every engine that is up or may be. Raises UpstreamError."""
        engines: list[dict[str, Any]] = self._ask("GET", "/admin/engines")["data"]
        return engines

    def requests(self) -> list[dict[str, Any]]:
        """Returns the running requests. Raises UpstreamError."""
        requests: list[dict[str, Any]] = self._ask("GET", "/admin/requests")["data"]
        return requests

    def act(self, alias: str, verb: str, **query: int) -> dict[str, Any]:
        """Returns the engine after a verb. Raises UpstreamError with the gateway's message."""
        return self._ask("POST", f"/admin/models/{quote(alias, safe='')}/{verb}", **query)

    def reload(self) -> dict[str, Any]:
        """Returns the changes of a reload. Raises UpstreamError with the mistakes in the settings."""
        return self._ask("POST", "/admin/reload")

    def page_link(self) -> str:
        """Returns the page's address, which signs in one browser within a minute. Raises UpstreamError."""
        return f"{self._root}/ui#link={self._ask('POST', '/admin/links')['link']}"

    def _ask(self, method: str, path: str, **query: int) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, params=query)
        except httpx2.TransportError as error:
            raise UpstreamUnreachableError(
                f"No gateway answers at {self._root} ({reason_of(error)}). Start one: llama-tandem serve"
            ) from None
        if response.status_code == 401:
            file = self._settings.state_dir / FILE_NAME
            raise UpstreamError(f"The gateway at {self._root} rejects the key of {file}. Is it another user's gateway?")
        if response.status_code != 200:
            raise UpstreamError(_words(response))
        answer: dict[str, Any] = response.json()
        return answer


def _words(response: httpx2.Response) -> str:
    try:
        return str(json.loads(response.text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The gateway answered {response.status_code}: {response.text[:200]}"
