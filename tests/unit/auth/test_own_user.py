"""Who may run what it likes: a command of this machine with its own key, and no browser, proxy or other machine."""

from __future__ import annotations

from typing import Any, cast

import pytest

from app.auth.guard import KEY
from app.auth.key_cache import Keyring
from app.auth.keys import ApiKey, digest
from app.auth.local_admin_key import local_key
from app.auth.own_user import own_user_refusal

OWN = local_key("lt-own")


class NoStore:
    """A database without a key."""

    def all(self) -> tuple[ApiKey, ...]:
        return ()


def why(client: Any = ("127.0.0.1", 5), key: ApiKey | None = OWN, **headers: str) -> str:
    keys = Keyring(cast(Any, NoStore()), (), open_to_all=False)
    keys.add_local(OWN)
    names = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return own_user_refusal({"client": client, "headers": names} | ({KEY: key} if key else {}), keys)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_command_of_this_machine_may(address: str) -> None:
    assert why((address, 5), authorization="Bearer lt-own", user_agent="python") == ""


@pytest.mark.parametrize(
    "headers", [{"origin": "http://localhost:8000"}, {"origin": "null"}, {"sec_fetch_site": "none"}]
)
def test_no_browser_may(headers: dict[str, str]) -> None:
    """Not even a page of the gateway's own, with the right key."""
    assert "browser" in why(**headers)


@pytest.mark.parametrize("address", ["192.168.1.7", "::ffff:10.0.0.1", "2001:db8::1", "testclient"])
def test_no_other_machine_may(address: str) -> None:
    assert "this machine" in why((address, 5))


@pytest.mark.parametrize("name", ["x_forwarded_for", "forwarded", "via", "x_real_ip"])
def test_what_a_proxy_of_this_machine_passes_on_may_not(name: str) -> None:
    assert "this machine" in why(**{name: "1.2.3.4"})


def test_a_socket_without_an_address_may_not() -> None:
    assert "this machine" in why(None)


@pytest.mark.parametrize(
    "key", [None, ApiKey("local", digest("lt-other"), admin=True), ApiKey("boss", b"x", admin=True)]
)
def test_no_other_admin_key_may(key: ApiKey | None) -> None:
    """Not one that is called `local` either."""
    assert "admin.key" in why(key=key)
