"""Bytes of one run of blocks over HTTP: ranges, redirects, retries. Knows no file."""

from __future__ import annotations

import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urljoin, urlsplit

from app.errors import HubError, WrongBytes
from app.store.backoff import LONGEST_RETRY_AFTER_S, RETRIED, TRIES, delay, retry_after
from app.store.ranges import Identity

if TYPE_CHECKING:
    import httpx2

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOPS = 5
# What a signed address answers once it has expired, by its host.
_EXPIRED = frozenset({401, 403, 404, 410})
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")
_CONNECT_S, _READ_S = 10.0, 30.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a file's bytes are; `headers` (a token among them) are for the host `home` alone."""

    url: str
    home: str
    headers: tuple[tuple[str, str], ...] = ()


class Source(Protocol):
    """Tells where bytes are."""

    def address(self, identity: Identity) -> Address:
        """Raises HubError."""


class Stopped(Exception):
    """Somebody else has failed, or the person has had enough."""


class _Again(Exception):
    """Worth another try; `wish` is the server's Retry-After in seconds."""

    def __init__(self, why: str, wish: float | None = None, *, expired: bool = False) -> None:
        super().__init__(why)
        self.wish = wish
        self.expired = expired


class Fetcher:
    """Shared by the workers of one file. `say` is told of every wait."""

    def __init__(
        self,
        client: httpx2.Client,
        source: Source,
        identity: Identity,
        stop: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._client = client
        self._source = source
        self._identity = identity
        self._stop = stop
        self._say = say
        self._lock = threading.Lock()
        self._address: Address | None = None
        self._open: set[Any] = set()

    def abort(self) -> None:
        """Ends reads that wait for a server; `stop` is set."""
        with self._lock:
            for stream in self._open:
                # Closed meanwhile: then nobody reads from it
                with suppress(OSError):
                    stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _abortable(self, response: httpx2.Response) -> Iterator[None]:
        stream = response.extensions["network_stream"]
        with self._lock:
            self._open.add(stream)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(stream)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of the file in pieces of any size, through any number of connections.

        Raises HubError when `TRIES` requests in a row brought nothing, WrongBytes for a server that has another
        size than announced, Stopped.
        """
        attempt = 0
        while start < stop:
            try:
                for chunk in self._request(start, stop):
                    start, attempt = start + len(chunk), 0
                    yield chunk
            except _Again as again:
                attempt += 1
                self._wait(attempt, again)

    def _wait(self, attempt: int, again: _Again) -> None:
        if again.expired:
            with self._lock:
                self._address = None
        if attempt >= TRIES:
            raise HubError(f"{self._identity.path}: {again}, {TRIES} times in a row; pull again to go on.")
        if again.wish is not None and again.wish > LONGEST_RETRY_AFTER_S:
            raise HubError(
                f"{self._identity.path}: {again}, and asks for {again.wish:.0f} s of rest; pull again then to go on."
            )
        seconds = delay(attempt, again.wish, random.random)
        self._say(f"{self._identity.path}: {again}; trying again in {seconds:.1f} s")
        if self._stop.wait(seconds):
            raise Stopped

    def _where(self) -> Address:
        with self._lock:
            if self._address is None:
                self._address = self._source.address(self._identity)
            return self._address

    def _request(self, start: int, stop: int) -> Iterator[bytes]:
        import httpx2

        address = self._where()
        url = address.url
        try:
            for _ in range(_HOPS):
                headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
                if origin(url) == origin(address.home):
                    headers |= dict(address.headers)
                with self._client.stream("GET", url, headers=headers, timeout=_timeout()) as response:
                    if response.status_code in _REDIRECTS and "Location" in response.headers:
                        url = urljoin(url, response.headers["Location"])
                        continue
                    with self._abortable(response):
                        self._check(response, start, stop)
                        yield from self._body(response, stop - start)
                    return
            raise HubError(f"{self._identity.path}: more than {_HOPS} redirects.")
        except (httpx2.TransportError, OSError) as error:
            if self._stop.is_set():
                raise Stopped from None
            raise _Again(f"the connection failed ({str(error) or type(error).__name__})") from None

    def _body(self, response: httpx2.Response, length: int) -> Iterator[bytes]:
        for chunk in response.iter_raw():
            if self._stop.is_set():
                raise Stopped
            length -= len(chunk)
            if length < 0:
                raise _Again("the server sends more than it was asked for")
            yield chunk
        if length:
            raise _Again("the connection ended early")

    def _check(self, response: httpx2.Response, start: int, stop: int) -> None:
        status, said = response.status_code, self._identity.size
        if status in RETRIED:
            raise _Again(f"the server answers {status}", retry_after(response.headers.get("Retry-After")))
        if status in _EXPIRED:
            raise _Again(f"the server answers {status}", expired=True)
        if status == 200:
            raise _Again("the server ignores ranges")
        if status == 416:
            raise WrongBytes(f"{self._identity.path}: the Hub announced {said} bytes, the server has fewer.")
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if status != 206 or found is None:
            raise _Again(f"the server answers {status} to a range")
        first, last, size = (int(part) for part in found.groups())
        if size != said:
            raise WrongBytes(f"{self._identity.path}: the Hub announced {said} bytes, the server has {size}.")
        if (first, last) != (start, stop - 1):
            raise _Again("the server sends another range than it was asked for")


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host, port: what a token is for."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _timeout() -> httpx2.Timeout:
    import httpx2

    return httpx2.Timeout(_READ_S, connect=_CONNECT_S)
