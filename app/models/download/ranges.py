"""Downloads the bytes of one run of blocks over HTTP: ranges, redirects, retries. Does not write files."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from app.errors import AccessDeniedError, ChecksumMismatchError, HubError
from app.models.download.backoff import LONGEST_RETRY_AFTER_S, RETRIED, TRIES, delay, retry_after
from app.models.download.http import Failures, HttpConnections, origin
from app.models.download.journal import FileVersion

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOPS = 5
# A host's status for an expired signed URL.
_EXPIRED = frozenset({401, 403, 404, 410})
# After as many refusals in a row of fresh URLs, expiry is not the reason.
_DENIED = frozenset({401, 403})
_DENIED_TRIES = 4
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")


@dataclass(frozen=True, slots=True)
class FileAddress:
    """The URL of a file's bytes. `headers`, which may hold a token, are sent to the host `home` only."""

    url: str
    home: str
    headers: tuple[tuple[str, str], ...] = ()


class ByteSource(Protocol):
    """Provides the URL of a file."""

    def address(self, identity: FileVersion, rest: Callable[[float], None]) -> FileAddress:
        """Returns the address. Raises HubError. Waits by `rest`, in seconds, and passes on its exception."""


class DownloadStoppedError(Exception):
    """Another thread has failed, or the user has cancelled."""


class _RetryError(Exception):
    """The request may be tried again. `wish` is the server's Retry-After in seconds."""

    def __init__(
        self, why: str, wish: float | None = None, *, expired: bool = False, denied_by: str | None = None
    ) -> None:
        super().__init__(why)
        self.wish = wish
        self.expired = expired
        # The host that refused
        self.denied_by = denied_by


class RangeFetcher:
    """Shared by the threads of one file. Calls `say` for every wait."""

    def __init__(
        self,
        wire: HttpConnections,
        source: ByteSource,
        identity: FileVersion,
        stop: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._wire = wire
        self._source = source
        self._identity = identity
        self._stop = stop
        self._say = say
        self._lock = threading.Lock()
        self._address: FileAddress | None = None

    def abort(self) -> None:
        """Ends reads that wait for a server. `stop` is set before."""
        self._wire.abort()

    def pieces(self, start: int, stop: int, room: Callable[[], memoryview]) -> Iterator[int]:
        """Receives bytes [start, stop) of the file into the buffers of `room`, and yields the size of each piece.

        Opens as many connections as needed. Raises HubError after `TRIES` requests in a row without data. Raises
        ChecksumMismatchError if the server reports another size than announced. Raises DownloadStoppedError.
        """
        attempt = denied = 0
        while start < stop:
            try:
                with self._response(start, stop) as response:
                    while start < stop:
                        count = self._receive(response, room())
                        start, attempt, denied = start + count, 0, 0
                        yield count
            except _RetryError as again:
                attempt += 1
                denied = denied + 1 if again.denied_by is not None else 0
                if denied >= _DENIED_TRIES:
                    raise self._denied(again) from None
                self._wait(attempt, again)

    def _denied(self, again: _RetryError) -> AccessDeniedError:
        """Returns the error if the Hub grants access but the storage host refuses: a token that lost its rights, or a
        proxy."""
        return AccessDeniedError(
            f"{self._identity.path}: {again.denied_by} refuses the download ({again}, {_DENIED_TRIES} times in a "
            f"row). If {self._identity.repo} is gated or private, set HF_TOKEN to a token whose account may read it "
            "and has accepted its licence. Else check for a proxy that refuses it, and for a wrong clock. Then pull "
            "again to resume."
        )

    def _wait(self, attempt: int, again: _RetryError) -> None:
        if again.expired:
            with self._lock:
                self._address = None
        if attempt >= TRIES:
            raise HubError(f"{self._identity.path}: {again}, {TRIES} times in a row. Pull again to resume.")
        if again.wish is not None and again.wish > LONGEST_RETRY_AFTER_S:
            raise HubError(
                f"{self._identity.path}: {again}, and asks to wait {again.wish:.0f} s. Pull again after that to resume."
            )
        seconds = delay(attempt, again.wish, random.random)
        self._say(f"{self._identity.path}: {again}; trying again in {seconds:.1f} s")
        self._rest(seconds)

    def _rest(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise DownloadStoppedError

    def _where(self) -> FileAddress:
        with self._lock:
            self._rest(0)  # Threads that waited for the lock need no new address
            if self._address is None:
                self._address = self._source.address(self._identity, self._rest)
            return self._address

    @contextmanager
    def _response(self, start: int, stop: int) -> Iterator[HTTPResponse]:
        """Returns the checked response to a range, after all redirects."""
        address = self._where()
        url = address.url
        for _ in range(_HOPS):
            with self._in_words(), self._wire.get(url, _headers(url, address, start, stop)) as response:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    url = urljoin(url, response.headers["Location"])
                    continue
                self._check(response, start, stop, url)
                self._remember(address, url)
                yield response
                return
        raise HubError(f"{self._identity.path}: more than {_HOPS} redirects.")

    def _remember(self, address: FileAddress, url: str) -> None:
        """Sends later requests to the target of a redirect directly, until that URL expires."""
        with self._lock:
            if self._address is address:
                self._address = replace(address, url=url)

    def _receive(self, response: HTTPResponse, into: memoryview) -> int:
        if self._stop.is_set():
            raise DownloadStoppedError
        count = response.readinto(into)
        if not count:
            raise _RetryError("the connection ended early")
        return count

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except Failures as error:
            if self._stop.is_set():
                raise DownloadStoppedError from None
            raise _RetryError(f"the connection failed ({str(error) or type(error).__name__})") from None

    def _check(self, response: HTTPResponse, start: int, stop: int, url: str) -> None:
        status, expected_size = response.status, self._identity.size
        if status in RETRIED:
            raise _RetryError(f"the server answers {status}", retry_after(response.headers.get("Retry-After")))
        if status in _EXPIRED:
            host = urlsplit(url).hostname if status in _DENIED else None
            raise _RetryError(f"the server answers {status}", expired=True, denied_by=host)
        if status == 200:
            raise _RetryError("the server ignores ranges")
        if status == 416:
            raise ChecksumMismatchError(
                f"{self._identity.path}: the Hub announced {expected_size} bytes, the server has fewer."
            )
        content_range = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if status != 206 or content_range is None:
            raise _RetryError(f"the server answers {status} to a range")
        first, last, size = (int(part) for part in content_range.groups())
        if size != expected_size:
            raise ChecksumMismatchError(
                f"{self._identity.path}: the Hub announced {expected_size} bytes, the server has {size}."
            )
        if (first, last) != (start, stop - 1):
            raise _RetryError("the server sends a wrong range")


def _headers(url: str, address: FileAddress, start: int, stop: int) -> dict[str, str]:
    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    return headers | dict(address.headers) if origin(url) == origin(address.home) else headers
