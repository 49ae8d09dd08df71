"""Presets: models of their own for clients of every API, on the engine of their entry."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, eventually, header_only

THINKING = {"temperature": 1.0, "system": "Think first."}
OURS = {"role": "system", "content": "Think first."}
HELLO = {"role": "user", "content": "Hello"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("presets")
    model = str(header_only(folder / "model.gguf"))
    entry = {
        "target": {"path": model},
        "aliases": ["small"],
        "speculation": "ngram-simple",
        "request": {"defaults": {"temperature": 0.2, "top_k": 5}, "max_tokens": 100},
        "presets": {"thinking": THINKING, "short": {"max_tokens": 3}},
    }
    made = Gateway(folder, models={"m": entry, "o": {"target": {"path": model}}}, max_loaded=2)
    yield made
    made.close()


def asked(gateway: Gateway, path: str, body: dict[str, Any], engine: str = "m") -> dict[str, Any]:
    """What the engine is asked for by such a request."""
    response = gateway.client.post(path, json=body)
    assert response.status_code == 200, response.text
    url, key = gateway.engine(engine)
    headers = {"authorization": f"Bearer {key}"}
    request = httpx2.get(f"{url}/__last_request", headers=headers, trust_env=False).json()
    sent: dict[str, Any] = json.loads(request["body"])
    return sent


def test_they_are_listed_as_models(gateway: Gateway) -> None:
    rows = {row["id"]: row for row in gateway.client.get("/v1/models").json()["data"]}
    assert list(rows) == ["m", "m:thinking", "m:short", "o"]
    assert (rows["m:thinking"]["root"], rows["m:thinking"]["aliases"]) == ("m", [])
    assert gateway.client.get("/v1/models/small:thinking").json()["id"] == "m:thinking"
    assert [row["name"] for row in gateway.client.get("/api/tags").json()["models"]] == list(rows)
    everything = gateway.client.get("/v1/models?variants=true").json()["data"]
    assert "m:thinking:plain" in [row["id"] for row in everything]


@pytest.mark.parametrize("name", ["m:thinking", "small:thinking", "m:thinking:latest"])
def test_a_chat_gets_defaults_and_system_message(gateway: Gateway, name: str) -> None:
    """The entry's own defaults hold where the preset says nothing."""
    sent = asked(gateway, "/v1/chat/completions", {"model": name, "messages": [HELLO]})
    assert (sent["temperature"], sent["top_k"], sent["max_tokens"]) == (1.0, 5, 100)
    assert sent["messages"] == [OURS, HELLO]


def test_what_a_client_says_itself_stands(gateway: Gateway) -> None:
    own = [{"role": "system", "content": "Mine."}, HELLO]
    sent = asked(gateway, "/v1/chat/completions", {"model": "m:thinking", "messages": own, "temperature": 0})
    assert (sent["temperature"], sent["messages"]) == (0, own)


def test_the_model_itself_is_as_before(gateway: Gateway) -> None:
    sent = asked(gateway, "/v1/chat/completions", {"model": "m", "messages": [HELLO]})
    assert (sent["temperature"], sent["messages"]) == (0.2, [HELLO])


def test_other_apis_have_them(gateway: Gateway) -> None:
    """Where they are chats to the engine, the system message is the first one."""
    messages = {"model": "m:thinking", "messages": [HELLO], "max_tokens": 9}
    sent = asked(gateway, "/v1/messages", messages)
    assert (sent["messages"][0], sent["temperature"]) == (OURS, 1.0)
    sent = asked(gateway, "/v1/messages", messages | {"system": "Mine."})
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert "Think" not in str(sent["messages"])
    sent = asked(gateway, "/v1/responses", {"model": "m:thinking", "input": "Hello"})
    assert (sent["messages"][0], sent["temperature"]) == (OURS, 1.0)
    sent = asked(gateway, "/v1/responses", {"model": "m:thinking", "input": "Hello", "instructions": "Mine."})
    assert "Think" not in str(sent["messages"])
    sent = asked(gateway, "/v1/completions", {"model": "m:short", "prompt": "Hello"})
    assert (sent["max_tokens"], sent["prompt"]) == (3, "Hello")


def test_ollamas_clients_have_them(gateway: Gateway) -> None:
    chat = {"model": "m:thinking", "messages": [HELLO], "stream": False}
    sent = asked(gateway, "/api/chat", chat)
    assert (sent["messages"][0], sent["temperature"]) == (OURS, 1.0)
    sent = asked(gateway, "/api/chat", chat | {"options": {"temperature": 0.5}})
    assert sent["temperature"] == 0.5
    sent = asked(gateway, "/api/generate", {"model": "m:thinking", "prompt": "Hello", "stream": False})
    assert sent["messages"][0] == OURS
    own = {"model": "m:thinking", "prompt": "Hello", "system": "Mine.", "stream": False}
    assert asked(gateway, "/api/generate", own)["messages"][0]["content"] == "Mine."


def test_one_engine_serves_them_all(gateway: Gateway) -> None:
    for name in ("m", "m:thinking", "m:short"):
        assert gateway.chat(name).status_code == 200
    eventually(lambda: gateway.state("m:thinking") == "ready")
    assert len(gateway.engines) == 1


def test_a_preset_can_be_pinned_to_a_way_of_decoding(gateway: Gateway) -> None:
    """The plain engine, with the preset's defaults."""
    body = {"model": "m:thinking:plain", "messages": [HELLO]}
    assert asked(gateway, "/v1/chat/completions", body, engine="m:plain")["messages"] == [OURS, HELLO]


def test_a_key_may_use_a_preset_alone(make_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    model = str(header_only(tmp_path / "model.gguf"))
    entry = {"target": {"path": model}, "presets": {"thinking": THINKING}}
    gateway = make_gateway(models={"m": entry, "o": {"target": {"path": model}}})

    def key(*models: str) -> dict[str, str]:
        name = "".join(filter(str.isalpha, models[0]))
        made = gateway.command("keys", "create", "--name", name, "--models", ",".join(models))
        assert "No model that is configured now" not in made.stderr, made.stderr
        return {"authorization": f"Bearer {made.stdout.split()[0]}"}

    def may(headers: dict[str, str], model: str | None) -> bool:
        body = {"messages": [HELLO]} | ({"model": model} if model else {})
        return gateway.client.post("/v1/chat/completions", json=body, headers=headers).status_code == 200

    def listed(headers: dict[str, str]) -> list[str]:
        return [row["id"] for row in gateway.client.get("/v1/models", headers=headers).json()["data"]]

    whole, alone = key("m"), key("m:thinking")
    eventually(lambda: may(whole, "m:thinking") and may(alone, "m:thinking"))
    assert listed(whole) == ["m", "m:thinking"]
    assert listed(alone) == ["m:thinking"]
    assert may(whole, "m") and not may(whole, "o")
    assert not may(alone, "m")
    assert may(alone, None)  # the only one that can be meant


def test_presets_change_without_a_restart(make_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    entry = {"target": {"path": str(header_only(tmp_path / "model.gguf"))}}
    gateway = make_gateway(models={"m": entry | {"presets": {"a": {"seed": 1}}}})
    gateway.chat("m:a")
    engines = gateway.engines
    assert gateway.reload(models={"m": entry | {"presets": {"b": {"seed": 2}}}})["restarted"] == []
    assert (gateway.chat("m:a").status_code, gateway.chat("m:b").status_code) == (404, 200)
    assert asked(gateway, "/v1/chat/completions", {"model": "m:b", "messages": [HELLO]})["seed"] == 2
    assert gateway.engines == engines


def test_a_server_of_others_is_asked_for_its_own_model(make_gateway: Callable[..., Gateway], plain: Gateway) -> None:
    """It knows nothing of our presets."""
    gateway = make_gateway(models={"m": {"url": plain.url, "presets": {"short": {"max_tokens": 3}}}})
    answer = gateway.chat("m:short")
    assert (answer.status_code, answer.json()["usage"]["completion_tokens"]) == (200, 3)
