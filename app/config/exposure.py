"""Determines who can reach a gateway with these settings, and by which host names."""

from __future__ import annotations

from app import logs
from app.auth.hosts import Hosts, is_loopback
from app.config.settings import Settings
from app.errors import ConfigError

log = logs.get_logger("gateway")


def refuse_open_network(settings: Settings, *, key_required: bool) -> None:
    """Raises ConfigError if a network could use the models without a key and without `no_auth`."""
    if is_loopback(settings.host) or key_required:
        return
    if not settings.no_auth:
        raise ConfigError(
            [
                f"host: refusing to listen on {settings.host}:{settings.port} without an API key. "
                "Run `llama-tandem keys create --name NAME`, set TANDEM_API_KEYS, listen on 127.0.0.1, "
                "or pass --no-auth (no_auth: on)."
            ]
        )
    log.warning("authentication is disabled: any client that reaches this port can use the models", host=settings.host)


def hosts_for(settings: Settings, origins: frozenset[bytes]) -> Hosts | None:
    """Returns the host names that browsers may use, or None for all."""
    names = [name for name in settings.allowed_hosts.split(",") if name.strip()]
    # A gateway on a network has keys. Its host names there are unknown here.
    return Hosts([*names, settings.host], origins) if names or is_loopback(settings.host) else None
