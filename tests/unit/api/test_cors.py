"""Which web pages may read our answers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, digest
from app.config.settings import Settings
from app.main import Gateway
from app.records.database import Database
from tests.support.asgi import Answer, ask

PAGE, OTHER = "https://app.example", "https://evil.example"
ASKING = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, x-stainless-os"}


def fetch(folder: Path, method: str, path: str, headers: dict[str, str], body: bytes = b"", **settings: Any) -> Answer:
    settings = {"cors_origins": f"http://localhost:3000, {PAGE}"} | settings
    app = Gateway(Settings(state_dir=folder, cache_dir=folder, **settings)).app
    return asyncio.run(ask(app, method, path, body, headers))


def allowed(answer: Answer) -> dict[str, str]:
    return {name.removeprefix("access-control-"): v for name, v in answer.headers if name.startswith("access-control-")}


def test_without_a_listed_origin_there_is_no_cors(tmp_path: Path) -> None:
    """Off by default: a page is refused on loopback, and its preflight is no special request."""
    assert not allowed(fetch(tmp_path, "GET", "/v1/models", {}, cors_origins=""))
    for method in ("GET", "OPTIONS"):
        answer = fetch(tmp_path, method, "/v1/models", {"origin": PAGE} | ASKING, cors_origins="")
        assert (answer.status, allowed(answer)) == (403, {})


def test_a_preflight_needs_no_key(tmp_path: Path) -> None:
    """Browsers send none with it; what the page wants to send is allowed, and nothing that a browser keeps."""
    KeyStore(Database(tmp_path)).add(ApiKey("k", digest("secret")))
    answer = fetch(tmp_path, "OPTIONS", "/v1/chat/completions", {"origin": PAGE} | ASKING)
    assert (answer.status, answer.body) == (204, b"")
    headers = allowed(answer)
    assert headers["allow-origin"] == PAGE
    assert headers["allow-headers"] == "authorization, x-stainless-os"
    assert "POST" in headers["allow-methods"] and "allow-credentials" not in headers
    assert "allow-private-network" not in headers
    near = {"origin": PAGE, "access-control-request-private-network": "true"} | ASKING
    assert allowed(fetch(tmp_path, "OPTIONS", "/", near))["allow-private-network"] == "true"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/health", {}, 200),
        ("GET", "/v1/models", {"x-api-key": "secret"}, 200),
        ("GET", "/v1/models", {}, 401),
        ("GET", "/nothing/here", {"x-api-key": "secret"}, 404),
        ("PUT", "/v1/chat/completions", {"x-api-key": "secret"}, 405),
        ("POST", "/v1/chat/completions", {"x-api-key": "secret"}, 400),
        ("POST", "/api/chat", {"x-api-key": "secret"}, 400),
        ("GET", "/v1/models", {"host": "elsewhere.example"}, 421),
        ("OPTIONS", "/v1/chat/completions", {}, 401),
    ],
)
def test_every_answer_may_be_read_by_a_listed_page(
    method: str, path: str, headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    """Refusals as well: without the headers a page would see nothing but a network error."""
    KeyStore(Database(tmp_path)).add(ApiKey("k", digest("secret")))
    answer = fetch(tmp_path, method, path, {"origin": PAGE} | headers)
    assert answer.status == status
    cors = allowed(answer)
    assert cors["allow-origin"] == PAGE
    assert "x-request-id" in cors["expose-headers"] and "retry-after" in cors["expose-headers"]
    assert ("vary", "origin") in answer.headers


def test_other_pages_stay_outside(tmp_path: Path) -> None:
    """Nothing is reflected: neither to a page nor to who names none; case and port count."""
    for origin in (OTHER, "null", f"{PAGE}:8443", f"{PAGE}.evil.example", "http://app.example"):
        for method in ("GET", "OPTIONS"):
            answer = fetch(tmp_path, method, "/v1/models", {"origin": origin} | ASKING)
            assert (answer.status, allowed(answer)) == (403, {})
    plain = fetch(tmp_path, "GET", "/v1/models", {})
    assert (plain.status, allowed(plain), plain["vary"]) == (200, {}, "origin")
    beyond = fetch(tmp_path, "GET", "/v1/models", {"origin": OTHER}, host="0.0.0.0")
    assert (beyond.status, allowed(beyond)) == (200, {})


def test_names_that_are_no_headers_are_not_allowed(tmp_path: Path) -> None:
    """What a preflight asks for is said back only where it can be a list of names."""
    for names in ("a: b", "x" * 3000):
        headers = {"origin": PAGE} | ASKING | {"access-control-request-headers": names}
        assert "allow-headers" not in allowed(fetch(tmp_path, "OPTIONS", "/", headers))
