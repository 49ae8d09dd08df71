"""The outermost callable: ids, who serves what, and the bodies of errors. No server and no socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.api.dispatch import Dispatcher
from app.api.routes import GETS, POSTS
from app.config.model_entry import AttachedEntry
from app.config.settings import Settings
from app.main import Gateway
from tests.support.asgi import Answer, ask

GIVEN_IDS = ["r-1", "a" * 128, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "org/x:1+2=3.4"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """Wired as in life, never opened: no engine, no connection."""
    folder = tmp_path_factory.mktemp("gateway")
    models = {name: AttachedEntry(url="http://127.0.0.1:1", aliases=(f"{name}-2",)) for name in ("org/a", "b#1")}
    return Gateway(Settings(state_dir=folder, cache_dir=folder, models_dir=Path("/no"), models=models))


@pytest.fixture
def fetch(gateway: Gateway) -> Callable[..., Answer]:
    return lambda *args, **kwargs: asyncio.run(ask(gateway.app, *args, **kwargs))


class Relayed:
    """Stands where the relay is, and notes what reached it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any, *, api_format: Any, request_id: str) -> None:
        self.requests.append((scope["method"], scope["path"], request_id))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def alone() -> tuple[Dispatcher, Relayed]:
    """A front whose FastAPI part must not be built."""

    def never() -> Any:
        raise AssertionError("FastAPI was asked for")

    relay: Any = Relayed()
    return Dispatcher(never, relay, never), relay


ASKED = [*(("POST", path) for path in sorted(POSTS)), *(("GET", path) for path in sorted(GETS))]


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_what_llama_server_answers_goes_to_the_relay(method: str, path: str) -> None:
    """By method and exact path, before FastAPI is even imported."""
    front, relay = alone()
    asyncio.run(ask(front, method, path, headers={"x-request-id": "r-1"}))
    assert relay.requests == [(method, path, "r-1")]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1", "use /v1/models"),
        ("/v1/", "use /v1/models"),
        ("/v1/v1", "use /v1/models"),
        ("/v1/v1/messages", "/v1 twice: use /v1/messages."),
        ("/v1/api/chat", "Remove /v1 from the base URL: use /api/chat."),
    ],
)
def test_a_base_url_that_is_wrong_gets_a_hint(fetch: Callable[..., Answer], path: str, words: str) -> None:
    answer = fetch("POST", path)
    assert answer.status == 404 and words in answer.body.decode()


def test_a_byte_order_mark_is_taken_by_the_gateways_own_endpoints(fetch: Callable[..., Answer]) -> None:
    """As by those that are relayed."""
    answer = fetch("POST", "/api/show", b'\xef\xbb\xbf{"model": "org/a"}', {"host": "localhost"})
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("HEAD", "/v1/messages", "POST"),
        ("DELETE", "/completion", "POST"),
        ("POST", "/slots", "GET"),
    ],
)
def test_a_relayed_path_by_another_method_is_named(method: str, path: str, allow: str) -> None:
    """405 in OpenAI's shape, with Allow; a HEAD gets no body, yet its length."""
    front, relay = alone()
    answer = asyncio.run(ask(front, method, path, headers={"x-request-id": "r-1"}))
    assert (answer.status, answer["allow"], answer["x-request-id"], relay.requests) == (405, allow, "r-1", [])
    assert int(answer["content-length"]) > 0
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.error["code"] == "method_not_allowed"
        assert answer.error["message"] == f"{path} does not allow {method}. Allowed: {allow}."
        assert len(answer.body) == int(answer["content-length"])


@pytest.mark.parametrize("request_id", GIVEN_IDS)
def test_a_clients_request_id_is_kept(request_id: str, fetch: Callable[..., Answer]) -> None:
    """So that both sides' logs meet; on answers of FastAPI as on those of the relay."""
    for method, path in (("GET", "/health"), ("POST", "/v1/chat/completions"), ("PUT", "/slots")):
        assert fetch(method, path, headers={"x-request-id": request_id})["x-request-id"] == request_id


@pytest.mark.parametrize(
    "request_id", ["", "a" * 129, "two words", "tab\there", "line\nbreak", "é", "end\n", 'qu"ote', "{x}"]
)
def test_an_id_that_could_harm_a_log_or_a_header_is_replaced(request_id: str, fetch: Callable[..., Answer]) -> None:
    """By one of our own, another one each time."""
    first, second = (fetch("GET", "/health", headers={"x-request-id": request_id})["x-request-id"] for _ in range(2))
    assert len(first) == len(second) == 32 and first != second
    assert first.isalnum()


@pytest.mark.parametrize("path", ["/", "/health"])
def test_get_and_head_of_what_probes_ask_for(path: str, fetch: Callable[..., Answer]) -> None:
    """Ollama-minded clients and load balancers send HEAD / before anything else."""
    assert fetch("GET", path).status == fetch("HEAD", path).status == 200


def test_the_root_says_what_this_is(fetch: Callable[..., Answer]) -> None:
    """Whoever opens the address in a browser is shown the way."""
    assert json.loads(fetch("GET", "/").body).items() >= {"name": "llama-tandem", "api": "/v1", "docs": "/docs"}.items()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/v1/images", 404, "not_found"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/other", 404, "model_not_found"),
        ("POST", "/v1/chat/completions", 400, "invalid_body"),
    ],
)
def test_every_refusal_has_openais_shape(
    method: str, path: str, status: int, code: str, fetch: Callable[..., Answer]
) -> None:
    """Whichever part refuses: FastAPI's routing, an endpoint, the relay."""
    answer = fetch(method, path)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error.keys() == {"message", "type", "param", "code"}
    assert answer["content-type"] == "application/json"
    assert answer["x-request-id"]


def test_models_are_found_by_any_of_their_names(fetch: Callable[..., Answer]) -> None:
    """Names hold slashes and signs; an alias gives the entry's own name."""
    assert [row["id"] for row in json.loads(fetch("GET", "/v1/models").body)["data"]] == ["org/a", "b#1"]
    for path, name in (("/v1/models/org/a-2", "org/a"), ("/v1/models/b#1", "b#1"), ("/models/b#1-2", "b#1")):
        assert json.loads(fetch("GET", path).body)["id"] == name


def test_models_are_shown_without_fastapi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list and one of them, in both formats. A first request would wait a quarter of a second for imports."""

    def never(_: Gateway) -> Any:
        raise AssertionError("FastAPI was asked for")

    monkeypatch.setattr(Gateway, "_build_api", never)
    models = {"org/a": AttachedEntry(url="http://127.0.0.1:1", aliases=("a-2",))}
    app = Gateway(Settings(state_dir=tmp_path, cache_dir=tmp_path, models=models)).app
    anthropic = {"anthropic-version": "2023-06-01"}
    for path, headers, key, value in (
        ("/v1/models", {}, "object", "list"),
        ("/v1/models/a-2", {}, "id", "org/a"),
        ("/models/org/a/", {}, "object", "model"),
        ("/v1/models/a-2", anthropic, "id", "a-2"),
    ):
        answer = asyncio.run(ask(app, "GET", path, headers=headers))
        assert answer.status == 200 and json.loads(answer.body)[key] == value, path
    missing = asyncio.run(ask(app, "GET", "/v1/models/none", headers=anthropic))
    assert missing.status == 404 and json.loads(missing.body)["type"] == "error" and missing["request-id"]


def test_the_openapi_page_names_what_is_relayed(fetch: Callable[..., Answer]) -> None:
    """FastAPI has no endpoint for it, and people look there."""
    paths = json.loads(fetch("GET", "/openapi.json").body)["paths"]
    assert {*POSTS, *GETS, "/v1/models", "/health", "/metrics"} <= paths.keys()
    assert all("post" in paths[path] for path in POSTS)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/chat/completions"), ("GET", "/v1/models")])
def test_an_unforeseen_failure_is_an_answer_without_our_insides(
    method: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 in the shape that clients read, and the exception goes on, so that the log says why."""

    def fails(*_: Any, **__: Any) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr("app.relay.request.parse.CallReader.named", fails)
    monkeypatch.setattr("app.api.models.ModelRows.all", fails)
    app, seen = Gateway(Settings(state_dir=tmp_path, cache_dir=tmp_path)).app, []

    async def caught(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except KeyError as error:
            seen.append(error)

    answer = asyncio.run(ask(caught, method, path, b'{"model": "m"}'))
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert answer["x-request-id"]
    assert len(seen) == 1


def test_fastapi_is_built_once_for_all_who_ask_at_once() -> None:
    """Scrapes and page loads come together; the second waits for the first's."""
    built = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def build() -> Any:
        built.append(page)
        return page

    relay: Any = Relayed()
    front = Dispatcher(build, relay, build)

    async def three() -> list[Answer]:
        return await asyncio.gather(*(ask(front, "GET", "/docs") for _ in range(3)))

    assert [answer.status for answer in asyncio.run(three())] == [200] * 3
    assert len(built) == 1


def test_lifespan_brackets_the_gateways_life() -> None:
    """Start-up is complete when the gateway is open, shutdown when it is closed."""
    seen: list[str] = []

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        seen.append("open")
        yield
        seen.append("closed")

    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        seen.append(message["type"])

    relay: Any = Relayed()
    asyncio.run(Dispatcher(lambda: relay, relay, life)({"type": "lifespan"}, receive, send))
    assert seen == ["open", "lifespan.startup.complete", "closed", "lifespan.shutdown.complete"]
