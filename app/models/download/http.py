"""HTTP connections for bytes in bulk: the standard library's, which receives into a buffer of ours.

Receiving a gigabyte from loopback in four threads takes 0.45 s of CPU this way, and 1.6 s through httpx2, which hands
every 64 KiB through Python, under the interpreter's lock. Connections are kept alive, shared by threads, and led
through the proxy that the environment names.
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
# What goes wrong on the way, or is no address at all (ValueError, from taking it apart).
Failures = (OSError, http.client.HTTPException, ValueError)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host, port: what a token is for, and what a connection leads to."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class Wire:
    """Connections to any number of hosts; `close` it when no thread uses it any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: defaultdict[tuple[str, str, int | None], list[http.client.HTTPConnection]] = defaultdict(list)
        self._busy: set[socket.socket] = set()
        self._trust: ssl.SSLContext | None = None

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()

    @contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET, its headers read; raises one of `Failures`.

        A connection whose answer was not read to its end is given up.
        """
        connection, target, more = self._connection(url)
        response = None
        try:
            connection.request("GET", target, headers={**headers, **more})
            with self._abortable(connection.sock):
                response = connection.getresponse()
                yield response
        finally:
            # Of an answer that ends with its connection, the connection has no socket any more
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
        """Ends reads that wait for a server, in whatever thread they are."""
        with self._lock:
            for sock in self._busy:
                # Closed meanwhile: then nobody reads from it
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _connection(self, url: str) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        """One that is open already, or a new one; what to ask of it, and the headers that its proxy wants."""
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
            raise http.client.InvalidURL(f"{parts.geturl()} is no address of HTTP")
        if proxy is not None and proxy.scheme != "http":
            raise http.client.InvalidURL(f"the proxy {proxy.scheme}://{proxy.hostname} is none of HTTP")
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
                import httpx2  # late; its certificates are those that the Hub itself is asked with

                self._trust = httpx2.create_ssl_context()
            return self._trust


class _Connection(http.client.HTTPConnection):
    """Waits less for a connection than for an answer."""

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
    """Whether the server has closed it since: an idle connection has nothing to read."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _proxy(parts: SplitResult) -> SplitResult | None:
    """As HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say."""
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
