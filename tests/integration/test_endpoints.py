"""Each endpoint that llama-server b11434 has (`routes` in its server.cpp): relayed, the gateway's own, or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, header_only
from tests.support.paths import ROOT

BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "x"}],
    "documents": ["y"],
    "tokens": [1],
    "max_tokens": 1,
} | dict.fromkeys(("prompt", "input", "content", "query", "input_prefix", "input_suffix"), "x")
BY_MODEL = [
    *(f"{v1}/chat/completions" for v1 in ("", "/v1")),
    *(f"{v1}/chat/completions/input_tokens" for v1 in ("", "/v1")),
    *("/completion", "/completions", "/v1/completions"),
    *("/responses", "/v1/responses", "/v1/messages"),
    *("/embedding", "/embeddings", "/v1/embeddings"),
    *("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"),
    *("/infill", "/tokenize", "/detokenize", "/apply-template"),
    *("/audio/transcriptions", "/v1/audio/transcriptions"),
]
# Translated, and answered from what the engine has counted
COUNTS = ["/responses/input_tokens", "/v1/responses/input_tokens", "/v1/messages/count_tokens"]
BY_QUERY = [("GET", "/slots"), ("GET", "/props"), ("GET", "/lora-adapters")]
FOR_ADMINS = ["/lora-adapters", "/slots/0?action=erase", "/slots/0?action=save", "/slots/0?action=restore"]
OURS = ["/health", "/v1/health", "/metrics", "/models", "/v1/models", "/"]
NOT_THERE = [
    ("POST", "/props"),
    ("POST", "/v1/chat/completions/control"),
    ("POST", "/v1/systemone"),
    *((method, "/v1/stream?conv_id=x") for method in ("GET", "DELETE")),
    ("POST", "/v1/streams/lookup"),
    *((method, path) for method in ("GET", "POST") for path in ("/cors-proxy?url=http://localhost", "/tools")),
    ("POST", "/models"),
    ("DELETE", "/models?model=m"),
    ("POST", "/predict"),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("endpoints")
    target = {"target": {"path": str(header_only(folder / "model.gguf"))}}
    saving = target | {"args": ["--slot-save-path", str(folder)]}
    gateway = Gateway(folder, models={"m": target, "saving": saving}, max_loaded=2)
    yield gateway
    gateway.close()


def by_an_engine(answer: Any) -> bool:
    """Engines say who they are; what the gateway says itself comes from none."""
    return "x-process" in answer.headers


@pytest.mark.parametrize("path", BY_MODEL)
def test_what_is_asked_of_a_model_reaches_its_engine(gateway: Gateway, path: str) -> None:
    answer = gateway.client.post(path, json=BODY)
    assert by_an_engine(answer), (path, answer.text)
    unknown = gateway.client.post(path, json=BODY | {"model": "nobody"})
    assert unknown.status_code == 404 and not by_an_engine(unknown)


@pytest.mark.parametrize("path", COUNTS)
def test_what_is_counted_is_counted_by_the_engine(gateway: Gateway, path: str) -> None:
    kind = "input" if "responses" in path else "messages"
    answer = gateway.client.post(path, json={"model": "m", kind: BODY[kind]})
    assert answer.status_code == 200 and answer.json()["input_tokens"] > 0


@pytest.mark.parametrize(("method", "path"), BY_QUERY)
def test_what_is_read_of_an_engine_is_asked_by_query(gateway: Gateway, method: str, path: str) -> None:
    assert by_an_engine(gateway.client.request(method, path, params={"model": "m"}))
    assert gateway.client.request(method, path, params={"model": "nobody"}).status_code == 404


@pytest.mark.parametrize("path", FOR_ADMINS)
def test_what_changes_an_engine_is_for_admins(gateway: Gateway, path: str) -> None:
    """And files are written into a folder of the entry's own, or into none."""
    path += ("&" if "?" in path else "?") + "model="
    assert gateway.client.post(f"{path}m", json={}).status_code == 401
    assert by_an_engine(gateway.client.post(f"{path}saving", json={}, headers=gateway.admin))
    answer = gateway.client.post(f"{path}m", json={}, headers=gateway.admin)
    if "/slots/" in path:
        assert answer.status_code == 400 and "--slot-save-path" in answer.json()["error"]["message"]
        assert not by_an_engine(answer)
    else:
        assert by_an_engine(answer)


@pytest.mark.parametrize("path", OURS)
def test_what_is_the_gateways_own_asks_no_engine(gateway: Gateway, path: str) -> None:
    answer = gateway.client.get(path)
    assert answer.status_code == 200 and not by_an_engine(answer)


def test_models_are_loaded_and_unloaded_as_by_the_router(gateway: Gateway) -> None:
    """The gateway's own, for admins."""
    for path in ("/models/unload", "/models/load"):
        assert gateway.client.post(path, json={"model": "m"}).status_code == 401
        answer = gateway.client.post(path, json={"model": "m"}, headers=gateway.admin)
        assert answer.status_code == 200 and not by_an_engine(answer)


@pytest.mark.parametrize(("method", "path"), NOT_THERE)
def test_what_is_not_relayed_is_not_there(gateway: Gateway, method: str, path: str) -> None:
    answer = gateway.client.request(method, path, json=BODY if method == "POST" else None, headers=gateway.admin)
    assert answer.status_code in (404, 405) and not by_an_engine(answer)
    assert answer.json()["error"]["message"]


def test_the_docs_name_each(gateway: Gateway) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    table = page.partition("## llama-server's endpoints")[2].partition("\n## ")[0]
    asked = [*BY_MODEL, *COUNTS, *(path for _, path in (*BY_QUERY, *NOT_THERE)), *OURS, "/lora-adapters"]
    for path in asked:
        bare = path.partition("?")[0]
        assert f"{bare}`" in table or f"/v1{bare}`" in table, path
