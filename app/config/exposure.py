"""Who can reach a gateway with these settings, and by which names."""

from __future__ import annotations

from app import logs
from app.auth.hosts import Hosts, is_loopback
from app.config.settings import Settings
from app.errors import ConfigError

log = logs.get_logger("gateway")


def refuse_open_door(settings: Settings, *, key_required: bool) -> None:
    """Raises ConfigError where everybody on a network could use the models and nobody has said that they may."""
    if is_loopback(settings.host) or key_required:
        return
    if not settings.no_auth:
        raise ConfigError(
            [
                f"host: whoever reaches {settings.host}:{settings.port} could use the models: there is no API key. "
                "Make one with `llama-tandem keys create --name NAME`, or set TANDEM_API_KEYS; "
                "or listen on 127.0.0.1; or say --no-auth (no_auth: on) if everybody may."
            ]
        )
    log.warning("no key is asked for: whoever reaches this port can use the models", host=settings.host)


def hosts_for(settings: Settings, origins: frozenset[bytes]) -> Hosts | None:
    """The names that browsers may call it by; None for all."""
    names = [name for name in settings.allowed_hosts.split(",") if name.strip()]
    # Whoever opens the gateway to a network has keys; the names that it is called by there are not known here.
    return Hosts([*names, settings.host], origins) if names or is_loopback(settings.host) else None
