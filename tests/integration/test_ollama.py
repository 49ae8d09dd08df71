"""Ollama's API, as its clients use it, over a fake engine."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, eventually

Make = Callable[..., Gateway]
CHAT: dict[str, Any] = {"model": "m:latest", "messages": [{"role": "user", "content": "x"}]}


def lines(answer: httpx2.Response) -> list[Any]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_chat_and_generate(make_gateway: Make) -> None:
    """Streams of lines by default, one object for `stream: false`; the model's name as the client wrote it."""
    gateway = make_gateway(args=["--tokens", "4"])
    found = lines(gateway.client.post("/api/chat", json=CHAT))
    assert "".join(line["message"]["content"] for line in found) == "t0 t1 t2 t3"
    assert {line["model"] for line in found} == {"m:latest"}
    assert (found[-1]["done"], found[-1]["done_reason"], found[-1]["eval_count"]) == (True, "stop", 4)
    whole = gateway.client.post("/api/chat", json=CHAT | {"stream": False}).json()
    assert (whole["message"]["content"], whole["done"]) == ("t0 t1 t2 t3", True)
    options = {"num_predict": 2}
    found = lines(gateway.client.post("/api/generate", json={"model": "m", "prompt": "x", "options": options}))
    assert "".join(line["response"] for line in found) == "t0 t1"
    assert found[-1]["done_reason"] == "length"
    raw = gateway.client.post("/api/generate", json={"model": "m", "prompt": "x", "raw": True, "stream": False})
    assert raw.json()["response"] == "t0 t1 t2 t3"
    assert eventually(lambda: gateway.metric('completion_tokens_total{alias="m"}') == 4 + 4 + 2 + 4)


def test_an_empty_request_loads_the_model(plain: Gateway) -> None:
    """And /api/ps lists it then."""
    answer = plain.client.post("/api/generate", json={"model": "m"})
    assert [line["done_reason"] for line in lines(answer)] == ["load"]
    [listed] = plain.client.get("/api/ps").json()["models"]
    assert listed["name"] == "m" and listed["context_length"] > 0 and listed["size_vram"] == 0
    assert plain.client.get("/api/tags").json()["models"][0]["details"] == listed["details"]


def test_embed(make_gateway: Make) -> None:
    """One text or several; the older endpoint too."""
    gateway = make_gateway(args=["--embeddings"])
    answer = gateway.client.post("/api/embed", json={"model": "m", "input": ["a", "b"]}).json()
    assert len(answer["embeddings"]) == 2
    assert gateway.client.post("/api/embeddings", json={"model": "m", "prompt": "a"}).json()["embedding"]


def test_models_are_listed_and_shown(make_gateway: Make) -> None:
    """Without loading any."""
    gateway = make_gateway(models={n: {"target": {"path": "model.gguf"}} for n in ("a", "b")})
    [a, _] = gateway.client.get("/api/tags").json()["models"]
    assert (a["name"], a["model"], a["details"]["family"]) == ("a", "a", "llama")
    shown = gateway.client.post("/api/show", json={"model": "a:latest"}).json()
    assert shown["model_info"]["general.architecture"] == "llama"
    assert "completion" in shown["capabilities"]
    assert gateway.client.get("/api/version").json()["version"]
    assert gateway.engines == []


def test_errors_are_one_text(make_gateway: Make) -> None:
    """Unknown models, bodies that cannot be read, paths that are not there, and the engine's own refusals."""
    gateway = make_gateway(args=["--fail-status", "500", "--fail-message", "'messages' is required"])
    for status, method, path, body in (
        (404, "POST", "/api/chat", CHAT | {"model": "nope"}),
        (404, "POST", "/api/show", {"model": "nope"}),
        (400, "POST", "/api/show", {}),
        (400, "POST", "/api/chat", []),
        (400, "POST", "/api/chat", CHAT),
        (405, "GET", "/api/chat", None),
        (404, "POST", "/api/pull", {}),
    ):
        answer = gateway.client.request(method, path, json=body)
        assert answer.status_code == status, (path, answer.text)
        assert isinstance(answer.json()["error"], str)
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("flags", [["--exit-after-tokens", "3", "--tps", "50"], ["--error-after-tokens", "3"]])
def test_a_stream_that_fails_says_so_and_breaks(make_gateway: Make, flags: list[str]) -> None:
    """A line with the error, then no clean end."""
    gateway = make_gateway(args=flags)
    found: list[Any] = []
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        gateway.client.stream("POST", "/api/chat", json=CHAT) as answer,
    ):
        found.extend(json.loads(line) for line in answer.iter_lines())
    assert isinstance(found[-1]["error"], str)
    assert not any(line.get("done") for line in found)


def test_an_engine_that_dies_in_a_whole_answer_is_a_502(make_gateway: Make) -> None:
    """Nothing was promised yet."""
    gateway = make_gateway(args=["--exit-after-tokens", "3"])
    answer = gateway.client.post("/api/chat", json=CHAT | {"stream": False})
    assert (answer.status_code, type(answer.json()["error"])) == (502, str)


def test_a_client_that_leaves_frees_the_slot(make_gateway: Make) -> None:
    """As with every other stream."""
    gateway = make_gateway(args=["--tps", "20", "--tokens", "2000"])
    with gateway.client.stream("POST", "/api/chat", json=CHAT) as answer:
        next(answer.iter_lines())
    eventually(lambda: not gateway.client.get("/slots?model=m").json()[0]["is_processing"])


def test_the_hello_probe(plain: Gateway) -> None:
    """Claude Code's, and its other one."""
    assert plain.client.head("/api/hello").status_code == plain.client.head("/").status_code == 200


def up(gateway: Gateway) -> dict[str, str]:
    """When each model that is up expires."""
    return {model["name"]: model["expires_at"] for model in gateway.client.get("/api/ps").json()["models"]}


def test_keep_alive_shortens_a_stay_and_lengthens_none(make_gateway: Make) -> None:
    """`expires_at` and `done_reason` say what is true; 0 unloads after the answer."""
    gateway = make_gateway(ttl="10m")
    never = "0001-01-01T00:00:00Z"
    assert gateway.client.post("/api/chat", json=CHAT | {"keep_alive": "1h", "stream": False}).status_code == 200
    [by_ttl] = up(gateway).values()
    assert never < by_ttl < (datetime.now(UTC) + timedelta(minutes=11)).isoformat()
    assert gateway.client.post("/api/chat", json=CHAT | {"keep_alive": 60}).status_code == 200
    assert up(gateway)["m"] < by_ttl
    assert gateway.client.post("/api/chat", json=CHAT | {"keep_alive": -1}).status_code == 200
    assert up(gateway)["m"] >= by_ttl  # not an admin's: the model's own ttl
    last = lines(gateway.client.post("/api/chat", json=CHAT | {"keep_alive": 0}))[-1]
    assert (last["done"], last["done_reason"]) == (True, "stop")
    eventually(lambda: gateway.state() == "stopped")
    [said] = lines(gateway.client.post("/api/generate", json={"model": "m", "keep_alive": 0}))
    assert (said["done_reason"], gateway.state()) == ("unload", "stopped")
    wrong = gateway.client.post("/api/chat", json=CHAT | {"keep_alive": "soon"})
    assert wrong.status_code == 400 and "'keep_alive' must be seconds" in wrong.json()["error"]
    assert gateway.client.post("/api/generate", json={"model": "x", "keep_alive": 0}).status_code == 404


def test_an_admin_pins_and_nobody_unloads_what_others_use(make_gateway: Make) -> None:
    """A plain key's 0 leaves a model that another key has just used, and says so."""
    gateway = make_gateway(api_keys="first-key,second-key", ttl="10m")
    first, second = ({"authorization": f"Bearer {name}-key"} for name in ("first", "second"))
    post = gateway.client.post
    assert post("/api/chat", json=CHAT, headers=second).status_code == 200
    assert post("/api/chat", json=CHAT | {"keep_alive": 0}, headers=first).status_code == 200
    [said] = lines(post("/api/generate", json={"model": "m", "keep_alive": 0}, headers=first))
    assert said["done_reason"] == "load"
    assert post("/api/generate", json={"model": "m", "keep_alive": -1}, headers=gateway.admin).status_code == 200
    listed = gateway.client.get("/api/ps", headers=first).json()["models"]
    assert [model["expires_at"] for model in listed] == ["0001-01-01T00:00:00Z"]
    assert gateway.client.get("/v1/models/m", headers=first).json()["state"] == "ready"
