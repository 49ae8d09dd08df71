"""Who may come in: one check of a request's headers before anything else is done for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.auth.hosts import Hosts
from app.auth.key_cache import Keyring
from app.auth.keys import Key
from app.auth.sessions import Sessions
from app.errors import ForbiddenError, PathNotFoundError, UnauthorizedError

Headers = list[tuple[bytes, bytes]]
# Where in an ASGI scope the key of a request stands; nothing there means that nobody asks for one.
KEY = "tandem.key"
# What probes ask before anybody has told them a key, and what tells nothing.
_FOR_ALL = frozenset(
    (
        *((method, path) for method in ("GET", "HEAD") for path in ("/health", "/v1/health")),
        *(("HEAD", "/"), ("HEAD", "/api/hello")),
    )
)
# Where the page is; its files need no key, nor does what begins a session.
PAGE = "/ui"
# These show every model's name.
_FOR_UNRESTRICTED = frozenset(("/metrics",))
# POSTs that change an engine for all who use it: whose conversation a slot holds, what is written to its disk, and how
# much of an adapter there is in every answer.
_LOADS = frozenset(f"{prefix}/models/{verb}" for prefix in ("", "/v1") for verb in ("load", "unload"))
_CHANGES_ENGINES = re.compile(r"(?:/v1)?/(?:slots/\d{1,4}|lora-adapters)")


class Guard:
    """Raises what the caller is to be told.

    `hosts` are the names to be called by, None to take any: a gateway that is open to a network is protected by its
    keys. On `admin_port`, which is on loopback always, they are checked at any rate; 0 is for no such port. A session
    counts as its key where a request brings no key of its own.
    """

    def __init__(
        self, keys: Keyring, *, hosts: Hosts | None = None, admin_port: int = 0, sessions: Sessions | None = None
    ) -> None:
        self._keys = keys
        self._sessions = sessions or Sessions(keys.valid)
        self._admin_port = admin_port
        self.called_by(hosts)

    def called_by(self, hosts: Hosts | None) -> None:
        """The names to be called by are these from now on."""
        self._hosts = hosts
        self._admin_hosts = hosts or Hosts()

    def check(self, scope: dict[str, Any]) -> None:
        """Leaves the request's key in the scope.

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
            scope[KEY] = self._admin(scope, f"POST {path} changes the engine for all who use it: it needs an admin key")
        elif self._keys.required:
            self._identify(scope)

    def reaches_admin(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request came in where `/admin` is: with an admin port, only there."""
        return self._admin_port == 0 or bool(scope["server"][1] == self._admin_port)

    def _administrates(self, scope: dict[str, Any]) -> None:
        if not self.reaches_admin(scope):
            raise PathNotFoundError(f"There is nothing at {scope['method']} {scope['path']}.")
        scope[KEY] = self._admin(scope, "The admin API needs an admin key")

    def _admin(self, scope: dict[str, Any], needed: str) -> Key:
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

    def _key(self, scope: dict[str, Any], needed: str) -> Key:
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
    """Whether a POST there changes an engine: `/slots/0?action=erase`, `/lora-adapters`."""
    return _CHANGES_ENGINES.fullmatch(path) is not None


def asks_for_page(scope: Mapping[str, Any]) -> bool:
    """Whether a request is for the page, its files or its session; a program that asks for `/` gets JSON."""
    path: str = scope["path"]
    if path in ("/", "/docs"):
        return scope["method"] in ("GET", "HEAD") and _takes_html(scope["headers"])
    return path == PAGE or path.startswith(f"{PAGE}/")


def _takes_html(headers: Headers) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in headers)


def presented(headers: Headers) -> list[bytes]:
    """What a client sends as its key. Some send one in each place, and only one of them is ours."""
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
    """Whom a request is from, as far as that is known: the name of its key, else its address."""
    if (key := scope.get(KEY)) is not None:
        return f"key {key.name}"
    address = scope.get("client")
    return f"address {address[0]}" if address else ""


def may_use(scope: Mapping[str, Any]) -> Callable[[str], bool] | None:
    """Which names of models this request may know of: a function, or None for all of them."""
    key = scope.get(KEY)
    return None if key is None or key.unrestricted else key.may
