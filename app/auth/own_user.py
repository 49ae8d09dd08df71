"""Tells whether a request is from the gateway's own user on this machine. Other users may not start any model."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from app.auth.guard import KEY
from app.auth.key_cache import Keyring

# Browsers send these with requests of a page, and no page can remove them
_OF_BROWSERS = (b"origin", b"sec-fetch-")
# Headers of proxies, whose requests come from elsewhere
_OF_PROXIES = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")


def own_user_refusal(scope: Mapping[str, Any], keys: Keyring) -> str:
    """Returns why a request is not from the own user, or ""."""
    names = [name for name, _ in scope["headers"]]
    if any(name.startswith(_OF_BROWSERS) for name in names):
        return "it comes from a browser"
    if any(name.startswith(_OF_PROXIES) for name in names) or not _is_loopback(scope.get("client")):
        return "it does not come from this machine"
    key = scope.get(KEY)
    if key is None or not keys.is_local(key):
        return "its key is not that of state_dir/admin.key"
    return ""


def _is_loopback(client: Any) -> bool:
    with suppress(ValueError, TypeError, IndexError):
        address = ipaddress.ip_address(client[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return bool((mapped or address).is_loopback)
    return False
