"""Pools connections to upstreams: opens one if none is free, and keeps it for a moment after its use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from app.relay.upstream.connection import Connection

if TYPE_CHECKING:
    import ssl

CONNECT_S = 5.0
# llama-server closes an idle connection after 5 s. Well below that, no request meets a closed connection.
KEEP_ALIVE_S = 2.0
_PORTS = {"http": 80, "https": 443}


class ConnectFailedError(Exception):
    """No connection could be opened. The text is the reason."""


class Origin(NamedTuple):
    """The address of a server and its Host header. `prefix` is the path below which its endpoints are."""

    host: str
    port: int
    tls: bool
    authority: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> Origin:
        """Parses a root URL. Raises ValueError if it has no host or an invalid port."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("it names no host")
        tls = parts.scheme == "https"
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        authority = f"[{host}]" if ":" in host else host
        if parts.port is not None and parts.port != _PORTS[parts.scheme]:
            authority += f":{parts.port}"
        return cls(host, parts.port or _PORTS[parts.scheme], tls, authority, parts.path.rstrip("/"))


class Pool:
    """Any number of connections to any number of origins."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: dict[Connection, Origin] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None

    async def connection(self, origin: Origin) -> Connection:
        """Returns a connection for one caller. Raises ConnectFailedError, or TimeoutError after CONNECT_S."""
        idle, now = self._idle.get(origin), asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if connection.is_open and now - connection.idle_since < KEEP_ALIVE_S:
                return connection
            connection.abort()
        return await self._connect(origin)

    def give_back(self, connection: Connection) -> None:
        """Takes a connection back, once.

        Keeps it for the next request if its response was read to the end, else cuts it.
        """
        origin = self._open.get(connection)
        if origin is None or not connection.reusable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_ALIVE_S, self._close_idle)

    def cut(self, base_urls: Collection[str]) -> None:
        """Cuts the connections to servers that are gone with their machine, and will not close them."""
        gone = {Origin.of(url)[:2] for url in base_urls}
        for connection, origin in list(self._open.items()):
            if origin[:2] in gone:
                connection.abort()

    def close(self) -> None:
        """Cuts all connections, in use or not."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._open):
            connection.abort()

    async def _connect(self, origin: Origin) -> Connection:
        context = self._context() if origin.tls else None
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._lost), origin.host, origin.port, ssl=context
                )
        except TimeoutError:
            raise  # Also an OSError
        except OSError as error:
            raise ConnectFailedError(_reason(error)) from error
        if not connection.lost:
            self._open[connection] = origin
        return connection

    def _lost(self, connection: Connection) -> None:
        origin = self._open.pop(connection, None)
        idle = self._idle.get(origin, []) if origin else []
        if connection in idle:
            idle.remove(connection)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEEP_ALIVE_S
        for origin, idle in list(self._idle.items()):
            for connection in [connection for connection in idle if connection.idle_since <= oldest]:
                idle.remove(connection)
                connection.abort()
            if not idle:
                del self._idle[origin]  # Engines come back on other ports
        self._sweep = loop.call_later(KEEP_ALIVE_S, self._close_idle) if self._idle else None

    def _context(self) -> ssl.SSLContext:
        """Returns the TLS context.

        It is made on first use, since reading the machine's certificates takes some 20 ms.
        """
        if self._tls is None:
            import ssl

            self._tls = ssl.create_default_context()
        return self._tls


def _reason(error: OSError) -> str:
    """Returns the operating system's text without asyncio's "Connect call failed".

    The resolver's codes are negative.
    """
    untrusted = getattr(error, "verify_message", None)
    if untrusted:
        return f"its certificate is not trusted ({untrusted})"
    if error.errno is not None and error.errno > 0 and type(error).__module__ != "ssl":
        return os.strerror(error.errno)
    return error.strerror or str(error)
