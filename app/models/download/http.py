"""HTTP connections for bulk data, from the standard library, which receives into a caller's buffer.

A gigabyte over loopback in four threads takes 0.45 s of CPU this way. httpx2 takes 1.6 s, since it passes every 64 KiB
through Python under the interpreter's lock. Connections stay open, are shared by threads, and use the proxy of the
environment.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from urllib.parse import SplitResult

CONNECT_S, READ_S = 10.0, 30.0
# Errors of the network, and of an invalid URL (ValueError).
Failures = (OSError, http.client.HTTPException, ValueError)


def origin(url: str) -> tuple[str, str, int | None]:
    """Returns scheme, host and port of a URL: the scope of a token and of a connection."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class HttpConnections:
    """Connections to any number of hosts. Close it when no thread uses it any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: defaultdict[tuple[str, str, int | None], list[http.client.HTTPConnection]] = defaultdict(list)
        self._busy: set[socket.socket] = set()
        self._trust: ssl.SSLContext | None = None

    def __enter__(self) -> HttpConnections:
        return self

    def __exit__(self, *_: object) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()

    @contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Returns the response to a GET, its headers read. Raises one of `Failures`.

        A connection whose response was not read to its end is closed.
        """
        connection, target, more = self._connection(url)
        response = None
        try:
            connection.request("GET", target, headers={**headers, **more})
            with self._abortable(connection.sock):
                response = connection.getresponse()
                yield response
        finally:
            # If the response ends with its connection, the connection has no socket any more
            if response is not None and response.isclosed() and connection.sock is not None:
                with self._lock:
                    self._idle[origin(url)].append(connection)
            else:
                if response is not None:
                    response.close()
                connection.close()

    @contextmanager
    def _abortable(self, sock: socket.socket) -> Iterator[None]:
        with self._lock:
            self._busy.add(sock)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(sock)

    def abort(self) -> None:
        """Ends reads that wait for a server, in any thread."""
        with self._lock:
            for sock in self._busy:
                # Closed already, so no thread reads from it
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _connection(self, url: str) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        """Returns an open or a new connection, the target of the request, and the headers for its proxy."""
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        proxy = _proxy(parts)
        headers: dict[str, str] = {}
        if proxy is not None and parts.scheme == "http":
            target, headers = url, _authorization(proxy)
        with self._lock:
            idle = self._idle[origin(url)]
            while idle:
                connection = idle.pop()
                if not _stale(connection):
                    return connection, target, headers
                connection.close()
        return self._made(parts, proxy), target, headers

    def _made(self, parts: SplitResult, proxy: SplitResult | None) -> http.client.HTTPConnection:
        if parts.hostname is None or parts.scheme not in ("http", "https"):
            raise http.client.InvalidURL(f"{parts.geturl()} is not an HTTP URL")
        if proxy is not None and proxy.scheme != "http":
            raise http.client.InvalidURL(f"the proxy {proxy.scheme}://{proxy.hostname} is not an HTTP proxy")
        host, port = (parts.hostname, parts.port) if proxy is None else (proxy.hostname or "", proxy.port)
        if parts.scheme == "http":
            return _Connection(host, port)
        made = _SecureConnection(host, port, context=self._trusted())
        if proxy is not None:
            made.set_tunnel(parts.hostname, parts.port or 443, headers=_authorization(proxy))
        return made

    def _trusted(self) -> ssl.SSLContext:
        with self._lock:
            if self._trust is None:
                import httpx2  # Imported late. The Hub uses the same certificates.

                self._trust = httpx2.create_ssl_context()
            return self._trust


class _Connection(http.client.HTTPConnection):
    """Has a shorter timeout for connecting than for reading."""

    def connect(self) -> None:
        self.timeout = CONNECT_S
        super().connect()
        self.sock.settimeout(READ_S)


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        self.timeout = CONNECT_S
        super().connect()
        self.sock.settimeout(READ_S)


def _stale(connection: http.client.HTTPConnection) -> bool:
    """Tells whether the server has closed it: an idle connection is readable only then."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _proxy(parts: SplitResult) -> SplitResult | None:
    """Returns the proxy of HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    known = getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(secret).decode()}"}
