"""By which names this gateway is called: what keeps web pages in a browser on this machine away from it.

A page can point its own name at 127.0.0.1 (DNS rebinding) and then reads every answer; the name stands in `Host`. Any
page can also send a POST that it cannot read the answer of; the page stands in `Origin`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from app.errors import ForbiddenError, MisdirectedError

# A client sends the same few again and again; whoever sends others may not fill the memory.
_REMEMBERED = 64


def is_loopback(name: str) -> bool:
    """An address or a name that never leaves the machine (RFC 6761)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def host_name(value: str) -> str:
    """`[::1]:8000` -> `::1`: without port, brackets, case, and the root's dot."""
    name = value.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    before, colon, port = name.rpartition(":")
    return (before if colon and port.isdecimal() else name).removesuffix(".")


class Hosts:
    """Loopback, and the names that were configured; `origins` are pages of elsewhere that are welcome."""

    def __init__(self, names: Iterable[str] = (), origins: frozenset[bytes] = frozenset()) -> None:
        self._names = frozenset(map(host_name, names))
        self._origins = origins
        self._good: set[bytes] = set()

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises MisdirectedError or ForbiddenError. Who sends no `Host` is no browser."""
        for name, value in headers:
            if name == b"host" and value not in self._good:
                self._check_host(value)
            elif name == b"origin" and value not in self._origins and not self._own_page(value.decode("latin-1")):
                page = value.decode("latin-1")[:200]
                raise ForbiddenError(
                    f"A web page of {page} may not use this gateway; cors_origins names those that may."
                )

    def _check_host(self, value: bytes) -> None:
        shown = value.decode("latin-1")
        if not self._knows(host_name(shown)):
            raise MisdirectedError(
                f"This gateway is not called {shown[:200]!r}. Use 127.0.0.1, or add the name to allowed_hosts."
            )
        if len(self._good) < _REMEMBERED:
            self._good.add(value)

    def _own_page(self, origin: str) -> bool:
        scheme, _, rest = origin.partition("://")
        if scheme.lower() in ("http", "https"):
            return self._knows(host_name(rest))
        # An application's or an extension's own page; `null` is a page that hides where it came from.
        return bool(rest)

    def _knows(self, name: str) -> bool:
        return is_loopback(name) or name in self._names
