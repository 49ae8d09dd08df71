"""Who comes in, by headers alone; answers as clients see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.auth.guard import presented
from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, digest
from app.config.model_entry import AttachedEntry
from app.config.settings import Settings
from app.errors import UpstreamUnreachableError
from app.main import Gateway
from app.records.database import Database
from tests.support.asgi import Answer, ask

ENTRIES = {
    "org/a": AttachedEntry(url="http://127.0.0.1:1", aliases=("a",)),
    "org/b": AttachedEntry(url="http://127.0.0.1:1"),
    "other": AttachedEntry(url="http://127.0.0.1:1"),
}
API_KEY = {"x-api-key": "all-secret"}
BODY = b'{"model": "%s"}'


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """With the keys `all` and `some` (of org/*), each its own secret with `-secret` behind."""

    async def nobody(*_: Any) -> Any:
        raise UpstreamUnreachableError("Nobody serves it.")

    monkeypatch.setattr("app.relay.upstream.router.Router.destination", nobody)
    store = KeyStore(Database(tmp_path))
    for name, models in (("all", ("*",)), ("some", ("org/*",)), ("by-alias", ("a",)), ("nothing", ("no",))):
        store.add(ApiKey(name, digest(f"{name}-secret"), models))
    gateway = Gateway(Settings(state_dir=tmp_path, cache_dir=tmp_path, models=ENTRIES))
    return lambda *args, **kwargs: asyncio.run(ask(gateway.app, *args, **kwargs))


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}-secret"}


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([(b"authorization", b"Bearer s")], [b"s"]),
        ([(b"authorization", b"bearer  s ")], [b"s"]),
        ([(b"x-api-key", b"s")], [b"s"]),
        ([(b"x-api-key", b"s"), (b"authorization", b"Bearer t")], [b"s", b"t"]),
        ([(b"authorization", b"Basic s")], []),
        ([(b"authorization", b"Bearer ")], []),
        ([(b"authorization", b"s")], []),
        ([(b"x-api-key", b"")], []),
        ([(b"cookie", b"s")], []),
    ],
)
def test_where_clients_put_their_key(headers: Any, found: list[bytes]) -> None:
    """OpenAI's and Anthropic's place; whoever fills both may mean either."""
    assert presented(headers) == found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/docs"),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
        ("GET", "/v1/completions"),
        ("GET", "/slots"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong-secret"}, {"x-api-key": "é"}])
def test_without_a_key_nothing_is_told(
    method: str, path: str, headers: dict[str, str], asked: Callable[..., Answer]
) -> None:
    """401 in the shape that clients read, whichever part would have answered; not even what exists."""
    answer = asked(method, path, BODY % b"org/a", headers | {"x-request-id": "r-1"})
    assert (answer.status, answer.error["code"], answer["x-request-id"]) == (401, "invalid_api_key", "r-1")
    assert answer["www-authenticate"] == "Bearer"
    assert b"org" not in answer.body and b"secret" not in answer.body


@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("HEAD", "/health"), ("HEAD", "/")])
def test_probes_need_no_key(method: str, path: str, asked: Callable[..., Answer]) -> None:
    """Load balancers and clients ask before they were told one."""
    assert asked(method, path).status == 200
    assert asked("HEAD", "/api/hello").status != 401


@pytest.mark.parametrize("headers", [bearer("all"), API_KEY, bearer("x") | API_KEY])
def test_a_key_lets_in(headers: dict[str, str], asked: Callable[..., Answer]) -> None:
    """In either place."""
    assert len(json.loads(asked("GET", "/v1/models", headers=headers).body)["data"]) == 3
    assert asked("POST", "/v1/chat/completions", BODY % b"org/a", headers).status == 502  # nobody serves it


@pytest.mark.parametrize(("key", "names"), [("some", ["org/a", "org/b"]), ("by-alias", ["org/a"]), ("nothing", [])])
def test_models_are_those_that_the_key_may_use(key: str, names: list[str], asked: Callable[..., Answer]) -> None:
    """A pattern may name an entry by any of its names."""
    found = json.loads(asked("GET", "/v1/models", headers=bearer(key)).body)["data"]
    assert [row["id"] for row in found] == names


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/chat/completions"), ("GET", "/v1/models/{}")])
def test_what_is_not_allowed_does_not_exist(method: str, path: str, asked: Callable[..., Answer]) -> None:
    """The same answer, byte for byte but for the name; other models' names are not in it."""
    answers = {}
    for name in ("other", "absent"):
        answer = asked(method, path.format(name), BODY % name.encode(), bearer("some"))
        assert answer.status == 404
        answers[name] = answer.body.replace(name.encode(), b"...")
    assert answers["other"] == answers["absent"]
    assert b"'org/a', 'org/b', 'a'" in answers["other"]


def test_who_may_use_one_model_need_not_name_it(asked: Callable[..., Answer]) -> None:
    """And who may use several is told of those."""
    assert asked("POST", "/v1/completions", b"{}", bearer("by-alias")).status == 502
    several = asked("POST", "/v1/completions", b"{}", bearer("some"))
    assert several.error["code"] == "model_required" and "other" not in several.error["message"]


def test_metrics_are_for_who_may_see_every_name(asked: Callable[..., Answer]) -> None:
    """They name each model."""
    assert asked("GET", "/metrics", headers=bearer("all")).status == 200
    assert asked("GET", "/metrics", headers=bearer("some")).status == 403


@pytest.mark.parametrize("path", ["/slots/0", "/v1/lora-adapters"])
def test_what_changes_an_engine_is_for_admins(path: str, asked: Callable[..., Answer]) -> None:
    """A slot holds somebody else's conversation; to read is for whoever may use the model."""
    assert asked("POST", path, b"{}").status == 401
    assert asked("POST", path, b"{}", bearer("all")).status == 403
    assert asked("GET", "/lora-adapters", headers=bearer("all")).error["code"] == "model_required"


@pytest.mark.parametrize("path", ["/slots/0", "/lora-adapters"])
def test_what_changes_an_engine_takes_an_admin_key_where_nobody_else_needs_one(tmp_path: Path, path: str) -> None:
    """As `/admin` does: a page or a program that found its way to the port is no admin."""
    gateway = Gateway(Settings(state_dir=tmp_path, cache_dir=tmp_path, models=ENTRIES))
    answer = asyncio.run(ask(gateway.app, "POST", path, b"{}"))
    assert answer.status == 401 and "admin.key" in answer.error["message"]


def test_without_keys_everybody_comes_in(tmp_path: Path) -> None:
    """Whatever clients send as a key: most SDKs insist on one."""
    gateway = Gateway(Settings(state_dir=tmp_path, cache_dir=tmp_path, models=ENTRIES))
    answer = asyncio.run(ask(gateway.app, "GET", "/v1/models", headers=bearer("none")))
    assert (answer.status, len(json.loads(answer.body)["data"])) == (200, 3)
