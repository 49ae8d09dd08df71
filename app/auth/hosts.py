"""Checks host names and origins, which keeps web pages in a local browser away from the gateway.

A page can point its own name at 127.0.0.1 (DNS rebinding) and read every answer; `Host` has that name. Any page can
also send a POST, although it cannot read the answer; `Origin` names the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from app.errors import ForbiddenError, MisdirectedError

# Clients send the same few names. The limit keeps a client from filling the memory with others.
_REMEMBERED = 64


def is_loopback(name: str) -> bool:
    """Tells whether an address or a name never leaves the machine (RFC 6761)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def host_name(value: str) -> str:
    """Normalizes `[::1]:8000` to `::1`: removes port, brackets and the final dot, and lowers the case."""
    name = value.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    before, colon, port = name.rpartition(":")
    return (before if colon and port.isdecimal() else name).removesuffix(".")


class Hosts:
    """Loopback and the configured names. `origins` are the allowed pages of other origins."""

    def __init__(self, names: Iterable[str] = (), origins: frozenset[bytes] = frozenset()) -> None:
        self._names = frozenset(map(host_name, names))
        self._origins = origins
        self._good: set[bytes] = set()

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises MisdirectedError or ForbiddenError. A request without `Host` is not from a browser."""
        for name, value in headers:
            if name == b"host" and value not in self._good:
                self._check_host(value)
            elif name == b"origin" and value not in self._origins and not self._own_page(value.decode("latin-1")):
                page = value.decode("latin-1")[:200]
                raise ForbiddenError(
                    f"The web page {page} may not use this gateway. Add it to cors_origins to allow it."
                )

    def _check_host(self, value: bytes) -> None:
        shown = value.decode("latin-1")
        if not self._knows(host_name(shown)):
            raise MisdirectedError(
                f"{shown[:200]!r} is not a host name of this gateway. Use 127.0.0.1, or add it to allowed_hosts."
            )
        if len(self._good) < _REMEMBERED:
            self._good.add(value)

    def _own_page(self, origin: str) -> bool:
        scheme, _, rest = origin.partition("://")
        if scheme.lower() in ("http", "https"):
            return self._knows(host_name(rest))
        # The page of an application or an extension. `null` is a page that hides its origin.
        return bool(rest)

    def _knows(self, name: str) -> bool:
        return is_loopback(name) or name in self._names
