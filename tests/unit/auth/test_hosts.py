"""By which names a gateway may be called, and from which pages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.auth.hosts import Hosts, is_loopback
from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, digest
from app.auth.local_admin_key import FILE_NAME, local_secret, make_local_secret
from app.config.settings import Settings
from app.errors import ConfigError, ForbiddenError, MisdirectedError
from app.main import Gateway
from app.records.database import Database
from app.server.serve import check_exposure
from tests.support.asgi import Answer, ask

OURS = [
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.9.9.9",
    "localhost",
    "LOCALHOST:1",
    "localhost.",
    "[::1]:8000",
    "[::1]",
    "a.localhost",
    "box.lan",
    "Box.lan:80",
]
FOREIGN = [
    *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0"),
    *("", "[::2]", "[", "xlocalhost", "127.0.0.1@evil.example", "\xff"),
]


@pytest.mark.parametrize("host", OURS)
def test_loopback_and_configured_names_are_ours(host: str) -> None:
    """With any port, in any case; asked twice, since the answer is remembered."""
    hosts = Hosts(["box.lan"])
    for _ in range(2):
        hosts.check([(b"host", host.encode()), (b"origin", f"http://{host}".encode())])


@pytest.mark.parametrize("host", FOREIGN)
def test_other_names_are_refused_in_words(host: str) -> None:
    """421, and what would be right."""
    with pytest.raises(MisdirectedError, match="allowed_hosts"):
        Hosts(["box.lan"]).check([(b"host", host.encode("latin-1"))])


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://evil.example:8000", "null", "", "HTTP://evil.example"]
)
def test_pages_of_elsewhere_are_refused(origin: str) -> None:
    """Also those that hide where they came from."""
    with pytest.raises(ForbiddenError, match="web page"):
        Hosts().check([(b"host", b"localhost"), (b"origin", origin.encode())])


@pytest.mark.parametrize(
    "origin", ["app://obsidian.md", "vscode-webview://x", "chrome-extension://abc", "tauri://localhost"]
)
def test_applications_on_this_machine_are_no_web_pages(origin: str) -> None:
    """Their pages come with the application."""
    Hosts().check([(b"origin", origin.encode())])


def test_memory_has_an_end() -> None:
    """Whoever sends a thousand names is not remembered a thousand times."""
    hosts = Hosts()
    for number in range(1000):
        hosts.check([(b"host", b"localhost:%d" % number)])
    assert len(hosts._good) <= 64


def asked(folder: Path, method: str, path: str, headers: dict[str, str] | None = None, **settings: Any) -> Answer:
    gateway = Gateway(Settings(state_dir=folder, cache_dir=folder, **settings))
    gateway._let_in_our_own_user()
    return asyncio.run(ask(gateway.app, method, path, headers=headers))


def test_a_gateway_on_loopback_checks_names_and_one_on_a_network_does_not(tmp_path: Path) -> None:
    """There it is called by names that are not known here; listed ones are the only ones."""
    foreign = {"host": "box.lan:8000"}
    answer = asked(tmp_path, "GET", "/v1/models", foreign)
    assert (answer.status, answer.error["code"]) == (421, "wrong_host")
    assert asked(tmp_path, "GET", "/v1/models", foreign, allowed_hosts="a.lan, box.lan").status == 200
    assert asked(tmp_path, "GET", "/v1/models", foreign, host="0.0.0.0").status == 200
    assert asked(tmp_path, "GET", "/v1/models", foreign, host="0.0.0.0", allowed_hosts="a.lan").status == 421
    assert asked(tmp_path, "GET", "/v1/models", {"origin": "http://a.lan"}).status == 403


ADMIN = "/admin/aliases/nope/speculation"


def test_the_admin_api_takes_an_admin_key_always(tmp_path: Path) -> None:
    """Even where nobody else needs one; a key for models is not enough."""
    for settings in ({}, {"no_auth": True}):
        assert asked(tmp_path, "GET", ADMIN, **settings).status == 401
        assert asked(tmp_path, "GET", "/admin", **settings).status == 401
        assert asked(tmp_path, "GET", "/v1/models", **settings).status == 200
    store = KeyStore(Database(tmp_path))
    store.add(ApiKey("user", digest("user-secret")))
    store.add(ApiKey("boss", digest("boss-secret"), admin=True))
    statuses = [asked(tmp_path, "GET", ADMIN, {"x-api-key": f"{name}-secret"}).status for name in ("user", "boss")]
    assert statuses == [403, 404]
    assert asked(tmp_path, "GET", ADMIN, {"x-api-key": local_secret(tmp_path) or ""}).status == 404


def test_with_a_port_of_its_own_the_admin_api_is_nowhere_else(tmp_path: Path) -> None:
    """The very answer that a path gets which does not exist; on its own port names are checked at any rate."""
    key = {"x-api-key": make_local_secret(tmp_path)}
    away, absent = (asked(tmp_path, "GET", path, key, admin_port=9) for path in (ADMIN, "/nothing/here"))
    assert away.status == absent.status == 404
    assert away.error["message"].replace(ADMIN, "/nothing/here") == absent.error["message"]
    # The scope of these tests says that the server's port is 8000.
    private = asked(tmp_path, "GET", ADMIN, key, admin_port=8000, host="0.0.0.0", no_auth=True)
    assert private.error["code"] == "model_not_found"
    led_astray = key | {"host": "evil.example"}
    assert asked(tmp_path, "GET", ADMIN, led_astray, admin_port=8000, host="0.0.0.0", no_auth=True).status == 421


def test_the_key_of_this_machine_is_for_its_user_alone(tmp_path: Path) -> None:
    """It stays over restarts; one that others could read, or that is no key, is replaced."""
    folder = tmp_path / "new"
    assert local_secret(folder) is None
    first = make_local_secret(folder)
    file = folder / FILE_NAME
    assert file.stat().st_mode & 0o777 == 0o600
    assert make_local_secret(folder) == local_secret(folder) == first
    file.chmod(0o644)
    assert local_secret(folder) is None
    second = make_local_secret(folder)
    assert second != first and file.stat().st_mode & 0o777 == 0o600
    file.write_text("short")
    assert make_local_secret(folder) not in (first, second, "short")
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Somebody else may have put it there."""
    secret = make_local_secret(tmp_path / "theirs")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "theirs" / FILE_NAME)
    assert make_local_secret(tmp_path) != secret
    assert local_secret(tmp_path / "theirs") == secret


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan"])
def test_a_network_without_keys_is_refused(host: str, tmp_path: Path) -> None:
    """With the three ways out; any key will do, even one that has ended, and saying so aloud."""

    def start(**settings: Any) -> None:
        found = Settings(state_dir=tmp_path, cache_dir=tmp_path, host=host, **settings)
        check_exposure(found, Gateway(found).keys)

    with pytest.raises(ConfigError, match=r"keys create.*TANDEM_API_KEYS.*127\.0\.0\.1.*--no-auth"):
        start()
    start(no_auth=True)
    start(api_keys="from-the-environment")
    KeyStore(Database(tmp_path)).add(ApiKey("old", digest("s"), expires=1.0))
    start()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_loopback_needs_no_key(host: str, tmp_path: Path) -> None:
    """Who is on the machine has it."""
    assert is_loopback(host)
    settings = Settings(state_dir=tmp_path, cache_dir=tmp_path, host=host)
    check_exposure(settings, Gateway(settings).keys)
