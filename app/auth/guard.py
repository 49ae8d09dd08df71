"""Checks the access rights of a request by its headers, before any other work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.auth.hosts import Hosts
from app.auth.key_cache import Keyring
from app.auth.keys import ApiKey
from app.auth.sessions import Sessions
from app.errors import ForbiddenError, PathNotFoundError, UnauthorizedError

Headers = list[tuple[bytes, bytes]]
# The place of the request's key in an ASGI scope. Without it the gateway needs no keys.
KEY = "tandem.key"
# Health checks, and paths that reveal nothing: these need no key.
_FOR_ALL = frozenset(
    (
        *((method, path) for method in ("GET", "HEAD") for path in ("/health", "/v1/health")),
        *(("HEAD", "/"), ("HEAD", "/api/hello")),
    )
)
# The path of the page. Its files need no key, and neither does the start of a session.
PAGE = "/ui"
# These list every model's name.
_FOR_UNRESTRICTED = frozenset(("/metrics",))
# POSTs that change an engine for all its users: the conversation in a slot, files on its disk, and the scale of an
# adapter.
_LOADS = frozenset(f"{prefix}/models/{verb}" for prefix in ("", "/v1") for verb in ("load", "unload"))
_CHANGES_ENGINES = re.compile(r"(?:/v1)?/(?:slots/\d{1,4}|lora-adapters)")


class Guard:
    """Checks requests and raises the error for the client.

    `hosts` are the allowed host names, or None for any: a gateway on a network relies on its keys. On `admin_port`,
    always on loopback, hosts are checked in any case; 0 means no such port. A session counts as its key if a request
    has no key of its own.
    """

    def __init__(
        self, keys: Keyring, *, hosts: Hosts | None = None, admin_port: int = 0, sessions: Sessions | None = None
    ) -> None:
        self._keys = keys
        self._sessions = sessions or Sessions(keys.valid)
        self._admin_port = admin_port
        self.called_by(hosts)

    def called_by(self, hosts: Hosts | None) -> None:
        """Sets the allowed host names."""
        self._hosts = hosts
        self._admin_hosts = hosts or Hosts()

    def check(self, scope: dict[str, Any]) -> None:
        """Stores the request's key in the scope.

        Raises MisdirectedError, UnauthorizedError, ForbiddenError or PathNotFoundError.
        """
        path: str = scope["path"]
        private = self._admin_port != 0 and scope["server"][1] == self._admin_port
        hosts = self._admin_hosts if private else self._hosts
        if hosts is not None:
            hosts.check(scope["headers"])
        if asks_for_page(scope):
            return
        if path.startswith("/admin") and (path == "/admin" or path[6] == "/"):
            self._administrates(scope)
        elif scope["method"] == "POST" and (changes_engine(path) or path in _LOADS):
            scope[KEY] = self._admin(
                scope, f"POST {path} changes the engine for all its clients, so it needs an admin key"
            )
        elif self._keys.required:
            self._identify(scope)

    def reaches_admin(self, scope: Mapping[str, Any]) -> bool:
        """Tells whether the request's port serves `/admin`. With an admin port only that port does."""
        return self._admin_port == 0 or bool(scope["server"][1] == self._admin_port)

    def _administrates(self, scope: dict[str, Any]) -> None:
        if not self.reaches_admin(scope):
            raise PathNotFoundError(f"Not found: {scope['method']} {scope['path']}.")
        scope[KEY] = self._admin(scope, "The admin API needs an admin key")

    def _admin(self, scope: dict[str, Any], needed: str) -> ApiKey:
        where = "`llama-tandem keys create --admin`, or that of state_dir/admin.key."
        key = self._key(scope, f"{needed}: {where}")
        if not key.admin:
            raise ForbiddenError(f"The key '{key.name}' is not an admin key.")
        return key

    def _identify(self, scope: dict[str, Any]) -> None:
        if (scope["method"], scope["path"]) in _FOR_ALL:
            return
        needed = "An API key is needed: send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'."
        key = scope[KEY] = self._key(scope, needed)
        if scope["path"] in _FOR_UNRESTRICTED and not (key.admin or key.unrestricted):
            raise ForbiddenError(f"{scope['path']} shows every model; the key '{key.name}' may use only some.")

    def _key(self, scope: dict[str, Any], needed: str) -> ApiKey:
        secrets = presented(scope["headers"])
        for secret in secrets:
            if (key := self._keys.find(secret)) is not None:
                return key
        if not secrets and (key := self._sessions.key_of(scope)) is not None:
            return key
        if secrets:
            raise UnauthorizedError("Invalid API key (unknown, revoked or expired).")
        raise UnauthorizedError(needed)


def changes_engine(path: str) -> bool:
    """Tells whether a POST to this path changes an engine: `/slots/0?action=erase`, `/lora-adapters`."""
    return _CHANGES_ENGINES.fullmatch(path) is not None


def asks_for_page(scope: Mapping[str, Any]) -> bool:
    """Tells whether a request is for the page, its files or its session. A program that asks for `/` gets JSON."""
    path: str = scope["path"]
    if path in ("/", "/docs"):
        return scope["method"] in ("GET", "HEAD") and _takes_html(scope["headers"])
    return path == PAGE or path.startswith(f"{PAGE}/")


def _takes_html(headers: Headers) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in headers)


def presented(headers: Headers) -> list[bytes]:
    """Returns the keys that a client sends. Some clients send one per header, and only one of them is ours."""
    secrets = []
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.strip().partition(b" ")
            if scheme.lower() == b"bearer" and secret.strip():
                secrets.append(secret.strip())
        elif name == b"x-api-key" and value.strip():
            secrets.append(value.strip())
    return secrets


def client_of(scope: Mapping[str, Any]) -> str:
    """Returns the client's identity: the name of its key, else its address."""
    if (key := scope.get(KEY)) is not None:
        return f"key {key.name}"
    address = scope.get("client")
    return f"address {address[0]}" if address else ""


def may_use(scope: Mapping[str, Any]) -> Callable[[str], bool] | None:
    """Returns a function that tells which model names the request may use, or None for all."""
    key = scope.get(KEY)
    return None if key is None or key.unrestricted else key.may
