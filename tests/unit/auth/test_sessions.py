"""The page's sessions: begun by a link or a key, and counted only where the gateway's own page asks."""

from __future__ import annotations

from typing import Any

import pytest

from app.auth.keys import ApiKey, digest
from app.auth.sessions import LINK_LIVES, SESSION_LIVES, Sessions, from_our_page, set_cookie
from app.errors import UnauthorizedError

ADMIN = ApiKey("admin", digest("secret"), admin=True)
OURS = {"sec-fetch-site": "same-origin"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys() -> list[ApiKey]:
    return [ADMIN]


@pytest.fixture
def sessions(clock: Clock, keys: list[ApiKey]) -> Sessions:
    return Sessions(lambda: tuple(keys), clock)


def scope(host: str = "127.0.0.1:8000", **headers: str) -> dict[str, Any]:
    named = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    return {"headers": [(name.encode(), value.encode()) for name, value in named.items()]}


def asking(secret: str, headers: dict[str, str] = OURS, host: str = "127.0.0.1:8000") -> dict[str, Any]:
    """A request that brings the cookie which began the session, as a browser keeps it."""
    cookie = set_cookie(scope("127.0.0.1:8000"), secret).decode().partition(";")[0]
    return scope(host, **{"cookie": f"other=1; {cookie}", **headers})


def test_a_link_opens_one_session(sessions: Sessions) -> None:
    """Of the key that asked for it, and never another one."""
    link = sessions.link(ADMIN)
    secret, key = sessions.exchange(link)
    assert key == ADMIN and sessions.key_of(asking(secret)) == ADMIN
    with pytest.raises(UnauthorizedError, match="llama-tandem open"):
        sessions.exchange(link)


@pytest.mark.parametrize("link", ["", "nonsense", "x" * 200])
def test_an_unknown_link_opens_nothing(link: str, sessions: Sessions) -> None:
    sessions.link(ADMIN)
    with pytest.raises(UnauthorizedError):
        sessions.exchange(link)


def test_a_link_is_no_session_and_a_session_no_link(sessions: Sessions) -> None:
    """Each opens what it is for."""
    link = sessions.link(ADMIN)
    assert sessions.key_of(asking(link)) is None
    with pytest.raises(UnauthorizedError):
        sessions.exchange(sessions.begin(ADMIN))


def test_a_link_lives_a_minute(sessions: Sessions, clock: Clock) -> None:
    early, late = sessions.link(ADMIN), sessions.link(ADMIN)
    clock.now += LINK_LIVES - 1
    sessions.exchange(early)
    clock.now += 1
    with pytest.raises(UnauthorizedError):
        sessions.exchange(late)


def test_a_session_ends_after_twelve_hours(sessions: Sessions, clock: Clock) -> None:
    secret = sessions.begin(ADMIN)
    clock.now += SESSION_LIVES - 1
    assert sessions.key_of(asking(secret)) == ADMIN
    clock.now += 1
    assert sessions.key_of(asking(secret)) is None


def test_a_session_ends_with_its_key(sessions: Sessions, keys: list[ApiKey]) -> None:
    """A link that was not used yet, too."""
    secret, link = sessions.begin(ADMIN), sessions.link(ADMIN)
    keys.clear()
    assert sessions.key_of(asking(secret)) is None
    with pytest.raises(UnauthorizedError):
        sessions.exchange(link)


def test_signing_out_ends_the_session(sessions: Sessions) -> None:
    secret, other = sessions.begin(ADMIN), sessions.begin(ADMIN)
    sessions.end(asking(secret)["headers"])
    assert sessions.key_of(asking(secret)) is None
    assert sessions.key_of(asking(other)) == ADMIN


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({}, False),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"origin": "https://127.0.0.1:8000"}, True),
        ({"origin": "http://127.0.0.1:8001"}, False),
        ({"origin": "http://localhost:8000"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, False),
        ({"origin": "http://127.0.0.1:8000", "sec_fetch_site": "none"}, False),
        ({"origin": "http://127.0.0.1:8000", "sec_fetch_site": "same-site"}, False),
    ],
)
def test_only_our_page_counts(headers: dict[str, str], ours: bool, sessions: Sessions) -> None:
    """Another port of this host is same-site, and its page gets the cookie sent along."""
    assert from_our_page(scope(**headers)) is ours
    secret = sessions.begin(ADMIN)
    key = sessions.key_of(asking(secret, {name.replace("_", "-"): value for name, value in headers.items()}))
    assert (key == ADMIN) is ours


def test_the_cookie_is_of_its_port(sessions: Sessions) -> None:
    """Browsers keep cookies by host alone: two gateways must not sign each other out."""
    secret = sessions.begin(ADMIN)
    assert sessions.key_of(asking(secret, host="127.0.0.1:8001")) is None
    cookie = set_cookie(scope("[::1]:9"), "s")
    assert cookie.startswith(b"tandem_session_9=s; Path=/; Max-Age=43200; HttpOnly; SameSite")
    assert set_cookie(scope("[::1]"), "").startswith(b"tandem_session_default=; Path=/; Max-Age=0;")
    assert b"Secure" in set_cookie(scope("h", origin="https://h"), "s")


def test_links_without_end_cost_no_memory_without_end(sessions: Sessions) -> None:
    """The newest stays."""
    links = [sessions.link(ADMIN) for _ in range(1000)]
    assert sessions.exchange(links[-1])[1] == ADMIN
    with pytest.raises(UnauthorizedError):
        sessions.exchange(links[0])
