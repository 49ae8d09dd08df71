"""A model at a gateway that runs already: from its settings, or added in memory for the time of a command."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from app.auth.local_admin_key import local_secret
from app.cli.run_target import RunTarget
from app.config.settings import Settings, root_url
from app.errors import TandemError

if TYPE_CHECKING:
    from app.cli.chat_client import ChatClient

# Seconds; a local gateway answers at once
_CONNECT_S = 2.0


class EphemeralModel:
    """A context manager. `is_served` tells whether the settings' gateway answers and has the model.

    An entry added for the command is removed with it, unless `keep`. A gateway of another version, with other keys or
    another model of that name stays unchanged.
    """

    def __init__(self, settings: Settings, target: RunTarget, *, keep: bool = False) -> None:
        self._settings = settings
        self._target = target
        self._keep = keep
        self.is_served = self.was_added = False

    def __enter__(self) -> EphemeralModel:
        try:
            if _listens(self._settings):
                with suppress(TandemError):
                    self._enter()
                    self.is_served = True
        except BaseException:  # Ctrl-C: the gateway may have the entry already
            self._leave()
            raise
        return self

    def _enter(self) -> None:
        """Adds the model. Raises UpstreamError or ConfigError without such a gateway, or if it refuses the model."""
        from app.cli.admin_client import admin_of
        from app.cli.chat_client import ChatClient

        alias, entry = self._target.alias, self._target.entry
        if entry is None:
            url = root_url(self._settings.host, self._settings.port)
            with ChatClient(url, local_secret(self._settings.state_dir)) as client:
                client.row(alias)
            return
        with admin_of(self._settings) as admin:
            if not _has(admin, alias, entry):
                self.was_added = True
                try:
                    admin.post("/admin/models", {"alias": alias, **entry})
                except TandemError:
                    self.was_added = False
                    raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or not self._keep:
            self._leave()

    def _leave(self) -> None:
        if self.was_added:
            from app.cli.admin_client import admin_of

            # The gateway may have ended
            with suppress(TandemError), admin_of(self._settings) as admin:
                admin.delete(f"/admin/models/{quote(self._target.alias, safe='')}")


def _listens(settings: Settings) -> bool:
    """Tells whether a server listens at the address. Called first, since the HTTP client imports slowly."""
    address = urlsplit(root_url(settings.host, settings.port))
    with suppress(OSError), socket.create_connection((address.hostname, settings.port), _CONNECT_S):
        return True
    return False


def _has(admin: ChatClient, alias: str, entry: dict[str, Any]) -> bool:
    """Tells whether an earlier command has added the same entry."""
    rows = {row["alias"]: row["entry"] for row in admin.get("/admin/models")["data"]}
    return alias in rows and all(rows[alias].get(key) == value for key, value in entry.items())
