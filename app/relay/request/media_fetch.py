"""Fetches remote media for a request: from listed hosts, at public addresses, within limits of size and time.

A name is resolved once, and the connection goes to an address that was checked. So a name that resolves differently a
moment later (DNS rebinding) has no effect. Every redirect is checked again. The first request with remote media imports
httpx2.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.auth.media_hosts import is_listed, is_public
from app.errors import BodyTooLargeError, RemoteMediaError, RemoteMediaFailedError, RemoteMediaRefusedError
from app.relay.request.media import Media, Remote

if TYPE_CHECKING:
    from httpx2 import URL, AsyncClient, Response

# Limits: bytes per URL, and URLs per request.
LARGEST = 20 << 20
MOST = 16
MOST_REDIRECTS = 3
# Seconds: per URL, and for all media of a request.
EACH_S = 10.0
ALL_S = 30.0
_KINDS = ("image/", "audio/")
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PORTS = {"http": 80, "https": 443}


def address(text: str, hosts: tuple[str, ...]) -> URL:
    """Returns the parsed URL if its host is one of `hosts`. Raises RemoteMediaRefusedError."""
    import httpx2

    try:
        url = httpx2.URL(text)
        host = url.raw_host.decode()
    except (httpx2.InvalidURL, ValueError):
        host = ""
    if not host or url.scheme not in ("http", "https"):
        raise RemoteMediaRefusedError(
            f"{text[:200]!r} is not a URL that can be fetched. Send the media as a data: URL."
        )
    if not is_listed(host, hosts):
        raise RemoteMediaRefusedError(
            f"Refusing to fetch media from {_shown(url)}: allow_remote_media does not list its host. "
            f"Send it as a data: URL, or add {host} to allow_remote_media."
        )
    return url


async def resolve(host: str, port: int) -> list[str]:
    """Returns the addresses of a name, or the address that the text spells in any notation. Raises OSError."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(where[0]) for *_, where in infos]


@contextmanager
def placed(remote: Remote, url: str) -> Iterator[None]:
    """Adds the place of the URL to an error about it."""
    try:
        yield
    except RemoteMediaError as error:
        error.param = remote.place(url)
        raise


class MediaFetcher:
    """Fetches media. `may` tells which IP addresses it may connect to. `resolve` resolves host names."""

    def __init__(
        self,
        hosts: tuple[str, ...] = (),
        *,
        may: Callable[[str], bool] = is_public,
        resolve: Callable[[str, int], Awaitable[list[str]]] = resolve,
    ) -> None:
        self.hosts = hosts
        self._may = may
        self._resolve = resolve

    async def fill(self, remote: Remote, body: bytes, *, largest: int) -> bytes:
        """Returns the body with its media.

        Raises RemoteMediaRefusedError, RemoteMediaFailedError or BodyTooLargeError.
        """
        if len(remote.urls) > MOST:
            raise RemoteMediaRefusedError(f"The request names {len(remote.urls)} media URLs; the maximum is {MOST}.")
        media: dict[str, Media] = {}
        try:
            async with asyncio.timeout(ALL_S):
                for url in remote.urls:
                    with placed(remote, url):
                        media[url] = await self._fetch(url, _room(media, largest - len(body)))
        except TimeoutError:
            raise RemoteMediaFailedError(f"The media of the request could not be fetched within {ALL_S:g} s.") from None
        return remote.filled(body, media)

    async def _fetch(self, text: str, room: int) -> Media:
        import httpx2

        url = address(text, self.hosts)
        try:
            async with asyncio.timeout(EACH_S), _client() as client:
                for _ in range(MOST_REDIRECTS + 1):
                    outcome = await self._ask(client, url, room)
                    if isinstance(outcome, Media):
                        return outcome
                    url = address(outcome, self.hosts)
        except TimeoutError:
            raise RemoteMediaFailedError(f"{_shown(url)} could not be fetched within {EACH_S:g} s.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError):
            raise RemoteMediaFailedError(f"{_shown(url)} cannot be fetched.") from None
        raise RemoteMediaFailedError(f"{_shown(url)} redirects more than {MOST_REDIRECTS} times.")

    async def _ask(self, client: AsyncClient, url: URL, room: int) -> Media | str:
        """Returns the media, or the URL of a redirect."""
        response = await self._answer(client, url)
        try:
            if response.status_code in _REDIRECTS and (elsewhere := response.headers.get("location")):
                return str(url.join(elsewhere))
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if response.status_code != 200:
                raise RemoteMediaFailedError(f"{_shown(url)} answered {response.status_code}.")
            if not kind.startswith(_KINDS):
                raise RemoteMediaFailedError(
                    f"{_shown(url)} has the type {kind or 'unknown'}; it must be an image or audio."
                )
            if response.headers.get("content-encoding", "identity") != "identity":
                raise RemoteMediaFailedError(f"{_shown(url)} is compressed; it must be sent without Content-Encoding.")
            return Media(kind, await _read(url, response, room))
        finally:
            await response.aclose()

    async def _answer(self, client: AsyncClient, url: URL) -> Response:
        """Connects to the first address that accepts. The Host header and the certificate check keep the name."""
        import httpx2

        addresses = await self._resolve(url.raw_host.decode(), url.port or _PORTS[url.scheme])
        # A name with a private address among public ones is an attack too.
        if not all(self._may(ip) for ip in addresses):
            raise RemoteMediaRefusedError(f"{_shown(url)} is in a private network, where the gateway fetches nothing.")
        failure: Exception = OSError("it has no address")
        for ip in addresses:
            request = client.build_request(
                "GET",
                url.copy_with(host=ip),
                headers={"host": url.netloc.decode()},
                extensions={"sni_hostname": url.raw_host.decode()},
            )
            try:
                return await client.send(request, stream=True)
            except httpx2.ConnectError as error:
                failure = error
        raise failure


def _client() -> AsyncClient:
    import httpx2

    from app.supervisor.http_transport import GatewayTransport

    return httpx2.AsyncClient(
        transport=GatewayTransport(trust_env=False),
        timeout=None,
        trust_env=False,
        headers={"accept": "image/*, audio/*", "accept-encoding": "identity", "user-agent": "llama-tandem"},
    )


async def _read(url: URL, response: Response, room: int) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > LARGEST:
            raise RemoteMediaFailedError(f"{_shown(url)} is larger than {LARGEST >> 20} MiB.")
        if len(content) > room:
            raise BodyTooLargeError("With its media the body exceeds max_body_mb in tandem.yaml.")
    return bytes(content)


def _room(media: dict[str, Media], left: int) -> int:
    """Returns how many bytes of media still fit. Base64 makes them a third longer."""
    return left * 3 // 4 - sum(len(item.content) for item in media.values())


def _shown(url: URL) -> str:
    """Returns the URL without credentials, query and fragment, which may be secret."""
    return f"{url.scheme}://{url.host}{url.path}"[:200]
