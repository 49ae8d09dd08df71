"""Sessions of the page: a cookie in place of a key, created from a one-time link or from the key itself.

A browser sends a cookie with every page's requests, even for other ports. So the cookie counts only if the browser says
that our own page sends the request, and the cookie's name contains the port.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.auth.keys import ApiKey, digest
from app.errors import UnauthorizedError

Headers = Iterable[tuple[bytes, bytes]]
# Seconds
LINK_LIVES = 60.0
SESSION_LIVES = 12 * 3600.0
# Above this number the oldest session ends
_LINKS, _SESSIONS = 64, 1024
_PORT = re.compile(r":(\d{1,5})\Z")


class Sessions:
    """Links and sessions, in memory. They end with the process.

    `valid` returns the valid keys. A session ends with its key. `clock` is in seconds.
    """

    def __init__(self, valid: Callable[[], tuple[ApiKey, ...]], clock: Callable[[], float] = time.monotonic) -> None:
        self._valid = valid
        self._clock = clock
        # By the secret's digest: the time of its end, and the digest of the key
        self._links: dict[bytes, tuple[float, bytes]] = {}
        self._sessions: dict[bytes, tuple[float, bytes]] = {}

    def link(self, key: ApiKey) -> str:
        """Returns a secret that opens one session of `key` within LINK_LIVES."""
        return self._new(self._links, LINK_LIVES, _LINKS, key)

    def exchange(self, link: str) -> tuple[str, ApiKey]:
        """Exchanges a link for the secret of a new session, and returns it with its key. Raises UnauthorizedError."""
        ends, holder = self._links.pop(digest(link), (0.0, b""))
        key = self._holder(holder) if self._clock() < ends else None
        if key is None:
            raise UnauthorizedError(
                "This link was used, or is over a minute old. Run `llama-tandem open` for a new one."
            )
        return self.begin(key), key

    def begin(self, key: ApiKey) -> str:
        """Returns the secret of a new session of `key`."""
        return self._new(self._sessions, SESSION_LIVES, _SESSIONS, key)

    def end(self, headers: Headers) -> None:
        """Ends the request's session, if it has one."""
        if (secret := _cookie(headers)) is not None:
            self._sessions.pop(digest(secret), None)

    def key_of(self, scope: Mapping[str, Any]) -> ApiKey | None:
        """Returns the key of the request's session if our own page sent the request."""
        secret = _cookie(scope["headers"])
        if secret is None or not from_our_page(scope):
            return None
        ends, holder = self._sessions.get(digest(secret), (0.0, b""))
        return self._holder(holder) if self._clock() < ends else None

    def _holder(self, holder: bytes) -> ApiKey | None:
        return next((key for key in self._valid() if key.digest == holder), None)

    def _new(self, entries: dict[bytes, tuple[float, bytes]], lives: float, most: int, key: ApiKey) -> str:
        now = self._clock()
        for old in [old for old, (ends, _) in entries.items() if ends <= now]:
            del entries[old]
        while len(entries) >= most:
            del entries[next(iter(entries))]
        secret = secrets.token_urlsafe(32)
        entries[digest(secret)] = (now + lives, key.digest)
        return secret


def from_our_page(scope: Mapping[str, Any]) -> bool:
    """Tells whether our own page sent the request: by Sec-Fetch-Site, or else by Origin."""
    headers = scope["headers"]
    if (site := _header(headers, b"sec-fetch-site")) is not None:
        return site == b"same-origin"
    origin, host = _header(headers, b"origin"), _header(headers, b"host")
    return origin is not None and host is not None and origin.lower() in _origins(host.lower())


def _origins(host: bytes) -> tuple[bytes, bytes]:
    # A proxy in front may terminate TLS
    return b"http://" + host, b"https://" + host


def set_cookie(scope: Mapping[str, Any], secret: str) -> bytes:
    """Returns the `Set-Cookie` that begins a session. An empty secret ends it."""
    secure = "; Secure" if (_header(scope["headers"], b"origin") or b"").startswith(b"https:") else ""
    lives = int(SESSION_LIVES) if secret else 0
    name = _cookie_name(scope["headers"])
    return f"{name}={secret}; Path=/; Max-Age={lives}; HttpOnly; SameSite=Strict{secure}".encode()


def _cookie_name(headers: Headers) -> str:
    """Returns the cookie's name. It has the browser's port, which differs from ours behind a proxy or a tunnel."""
    port = _PORT.search((_header(headers, b"host") or b"").decode("latin-1"))
    return f"tandem_session_{port[1] if port else 'default'}"


def _cookie(headers: Headers) -> str | None:
    name = _cookie_name(headers)
    for field, value in headers:
        if field == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, secret = part.strip().partition("=")
                if key == name and secret:
                    return secret
    return None


def _header(headers: Headers, name: bytes) -> bytes | None:
    return next((value for field, value in headers if field == name), None)
