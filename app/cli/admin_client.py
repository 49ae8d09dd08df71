"""A client of a running gateway's admin API, with the key of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.auth.local_admin_key import FILE_NAME, local_secret
from app.cli.chat_client import ChatClient
from app.config.settings import Settings, root_url
from app.errors import ConfigError
from app.server.address_file import admin_url


class AdminClient(ChatClient):
    """As ChatClient, for `/admin` at `root`."""

    def __init__(self, settings: Settings, root: str) -> None:
        file = settings.state_dir / FILE_NAME
        refused = f"The gateway at {root} rejects the key of {file}. Is it another user's gateway?"
        super().__init__(root, local_secret(settings.state_dir), refused=refused)

    def engines(self) -> list[dict[str, Any]]:
        """Returns every engine that is up or may be."""
        engines: list[dict[str, Any]] = self.get("/admin/engines")["data"]
        return engines

    def act(self, alias: str, verb: str, **query: int) -> dict[str, Any]:
        """Returns the engine after a verb."""
        engine: dict[str, Any] = self.post(f"/admin/models/{quote(alias, safe='')}/{verb}", **query)
        return engine


def admin_of(settings: Settings) -> AdminClient:
    """Returns a client for the gateway at the address in the settings. Raises ConfigError."""
    if not (port := settings.admin_port or settings.port):
        raise ConfigError(
            ["port: 0 picks a free port, so commands cannot find the gateway; set its port, or TANDEM_PORT"]
        )
    return AdminClient(settings, root_url("127.0.0.1" if settings.admin_port else settings.host, port))


def admin_of_running(settings: Settings, config: Path) -> AdminClient:
    """Returns a client for the gateway that runs with these settings, wherever it listens. Raises ConfigError."""
    return AdminClient(settings, admin_url(settings, config))
