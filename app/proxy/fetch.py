"""Remote media, fetched by the gateway: from listed hosts, at public addresses, within limits of size and time.

A name is resolved once, and the connection goes to an address that was looked at: a name that points elsewhere a moment
later (DNS rebinding) leads nowhere. Every redirect begins anew.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from app.access.remote import is_listed, is_public
from app.errors import BodyTooLarge, RemoteMediaFailed, RemoteMediaRefused
from app.proxy.media import Media, Remote

# In bytes: of one address; and how many of them a request may name.
LARGEST = 20 << 20
MOST = 16
MOST_REDIRECTS = 3
# Seconds: for one address, and for all of a request.
EACH_S = 10.0
ALL_S = 30.0
_KINDS = ("image/", "audio/")
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


def address(text: str, hosts: tuple[str, ...]) -> URL:
    """The URL, if its host is one of `hosts`; raises RemoteMediaRefused."""
    try:
        url = URL(text)
        host = url.raw_host
    except ValueError:
        host = None
    if not host or url.scheme not in ("http", "https"):
        raise RemoteMediaRefused(f"{text[:200]!r} is no address that can be fetched; send the media as a data: URL.")
    if not is_listed(host, hosts):
        raise RemoteMediaRefused(
            f"The request names media at {_shown(url)}, and this gateway fetches nothing from there. "
            f"Send it as a data: URL, or add {host} to allow_remote_media."
        )
    return url


class _Resolver(AbstractResolver):
    """Names to addresses that may be connected to; raises _Inside for all others."""

    def __init__(self, may: Callable[[str], bool], within: AbstractResolver) -> None:
        self._may = may
        self._within = within

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._within.resolve(host, port, family)
        # One that is not public among others that are is a trap as well.
        if not all(self._may(result["host"]) for result in found):
            raise _Inside
        return found

    async def close(self) -> None:
        await self._within.close()


class _Inside(OSError):
    """An address within a network that the client has no business in."""


class Fetcher:
    """`may` tells which addresses may be connected to, `resolver` what a name stands for."""

    def __init__(
        self,
        hosts: tuple[str, ...] = (),
        *,
        may: Callable[[str], bool] = is_public,
        resolver: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver,
    ) -> None:
        self._hosts = hosts
        self._may = may
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def fill(self, remote: Remote, body: bytes, *, largest: int) -> bytes:
        """The body with its media in it; raises RemoteMediaRefused, RemoteMediaFailed or BodyTooLarge."""
        if len(remote.urls) > MOST:
            raise RemoteMediaRefused(f"The request names {len(remote.urls)} addresses of media; {MOST} are the most.")
        media: dict[str, Media] = {}
        try:
            async with asyncio.timeout(ALL_S):
                for url in remote.urls:
                    media[url] = await self._fetch(url, _room(media, largest - len(body)))
        except TimeoutError:
            raise RemoteMediaFailed(f"The media of the request could not be fetched within {ALL_S:g} s.") from None
        return remote.filled(body, media)

    async def _fetch(self, text: str, room: int) -> Media:
        url = address(text, self._hosts)
        try:
            async with asyncio.timeout(EACH_S):
                for _ in range(MOST_REDIRECTS + 1):
                    found = await self._ask(url, room)
                    if isinstance(found, Media):
                        return found
                    url = address(str(found), self._hosts)
        except TimeoutError:
            raise RemoteMediaFailed(f"{_shown(url)} could not be fetched within {EACH_S:g} s.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(getattr(error, "os_error", None), _Inside):
                raise _inside(url) from None
            raise RemoteMediaFailed(f"{_shown(url)} cannot be fetched.") from None
        raise RemoteMediaFailed(f"{_shown(url)} redirects more than {MOST_REDIRECTS} times.")

    async def _ask(self, url: URL, room: int) -> Media | URL:
        """The media, or where they are instead."""
        # What looks like an address is not resolved, so nobody else would look at it.
        if _is_address(url.raw_host or "") and not self._may(url.raw_host or ""):
            raise _inside(url)
        async with self._open().get(url, allow_redirects=False) as answer:
            if answer.status in _REDIRECTS and (elsewhere := answer.headers.get("location")):
                return url.join(URL(elsewhere))
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if answer.status != 200:
                raise RemoteMediaFailed(f"{_shown(url)} answered {answer.status}.")
            if not kind.startswith(_KINDS) or answer.headers.get("content-encoding", "identity") != "identity":
                raise RemoteMediaFailed(
                    f"{_shown(url)} is {kind or 'nothing that says what it is'}, not image or audio."
                )
            return Media(kind, await _read(url, answer, room))

    def _open(self) -> aiohttp.ClientSession:
        """Made at the first use: a session belongs to the loop that it is made in."""
        if self._session is None:
            resolver = _Resolver(self._may, self._resolver())
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"accept": "image/*, audio/*", "accept-encoding": "identity", "user-agent": "llama-tandem"},
            )
        return self._session


async def _read(url: URL, answer: aiohttp.ClientResponse, room: int) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > LARGEST:
            raise RemoteMediaFailed(f"{_shown(url)} is larger than {LARGEST >> 20} MiB.")
        if len(content) > room:
            raise BodyTooLarge("With its media the body is larger than max_body_mb in tandem.yaml allows.")
    return bytes(content)


def _room(media: dict[str, Media], left: int) -> int:
    """How many bytes of media still fit: as base64 they are a third longer."""
    return left * 3 // 4 - sum(len(one.content) for one in media.values())


def _is_address(host: str) -> bool:
    """As aiohttp decides it, `127.1` included."""
    return ":" in host or host.replace(".", "").isdigit()


def _inside(url: URL) -> RemoteMediaRefused:
    return RemoteMediaRefused(f"{_shown(url)} is within a private network; nothing is fetched from there.")


def _shown(url: URL) -> str:
    """Without what may be secret in it."""
    return f"{url.scheme}://{url.host}{url.path}"[:200]
